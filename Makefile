# Every command does its own set-up: on a fresh machine `make reproduce` alone runs the main job.
# `make help` lists the commands. Written for GNU make 3.81 and later, and a POSIX shell.

# the interpreter that builds the virtual environment, and where it lies
PYTHON   ?= python3
VENV     ?= .venv
# GB of free disk that set-up asks for
DISK_GB  ?= 10
PROFILE  ?= auto
NOTEBOOK ?=
# 1: also what is done already
FORCE    ?=
ALL      ?=
# of `make measure`: for how long, and the file that results are brought home in
MINUTES  ?=
ARCHIVE  ?=
# of `make sweep`: where a cluster is, and how many units at a time (empty: this machine's cores)
SCHEDULER ?=
RESOURCES ?=
WORKERS   ?=
LAB_ARGS  ?=

# Some wheels have hundreds of megabytes; the installers' own patience is made for small ones.
UV_HTTP_TIMEOUT     ?= 180
PIP_DEFAULT_TIMEOUT ?= 180

# What is given is text, and neither make nor the shell may run any of it: it is taken as it was
# typed, `$` and all, and recipes see it as environment variables in quotes ("$$PROFILE"), never as
# $(PROFILE). What a value means, the program decides, and refuses what it does not know.
GIVEN := PYTHON VENV DISK_GB PROFILE NOTEBOOK FORCE ALL MINUTES ARCHIVE SCHEDULER RESOURCES WORKERS \
	LAB_ARGS UV_HTTP_TIMEOUT PIP_DEFAULT_TIMEOUT
# some shells call this machine HOST: only a typed one counts
ifeq ($(origin HOST),command line)
GIVEN += HOST
HOST_OPTION := --host="$$HOST"
endif
$(foreach name,$(GIVEN),$(eval override $(name) := $$(value $(name))))
export $(GIVEN)

PY := "$$VENV/bin/python"
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# make runs a line that says $(MAKE) even under `make -n`; only a line of its own may say that.
SELF := $(MAKE) --no-print-directory
# Python reads where this folder is in the locale's letters, of which LC_ALL=C has 26 and no é.
ifneq ($(filter ANSI_X3.4-1968 US-ASCII,$(shell locale charmap 2>/dev/null)),)
export LC_ALL := C.UTF-8
endif
# MPLBACKEND is set only where no notebook runs: in a notebook it would take the figures away.

.DEFAULT_GOAL := help
.PHONY: help setup data reproduce measure sweep test test-gpu figures lab lint doctor bench lock clean distclean

help: ## list the commands
	@echo "make COMMAND, with COMMAND one of:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' Makefile

# What the environment was made from: another lock, another pyproject, another place of this folder
# (scripts and the editable install hold its path) make a new set-up; a touched file does not.
# The stamp is written last, so a set-up that was killed leaves none. The mark of a half-built
# environment (.venv.part) is written first: what lies half unpacked would count as installed.
setup: ## make .venv with the locked versions (does nothing when it is up to date)
	@set -eu; stamp="$$VENV/.convcost-stamp"; half="$$VENV.part"; \
	want="$$(cat requirements.lock pyproject.toml | cksum) $$(pwd -P)"; \
	if [ -f "$$stamp" ] && [ -x $(PY) ] && [ "$$(cat "$$stamp")" = "$$want" ]; then exit 0; fi; \
	fail() { echo "make setup: $$*" >&2; exit 1; }; \
	command -v "$$PYTHON" >/dev/null || fail "there is no $$PYTHON here. Install Python 3.11 or newer, or name yours: make setup PYTHON=/path/to/python3"; \
	"$$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		fail "$$("$$PYTHON" --version 2>&1) is too old: 3.11 or newer is needed. Name another: make setup PYTHON=python3.12"; \
	free=$$(df -Pk . | awk 'NR == 2 { print int($$4 / 1048576) }'); \
	[ "$$free" -ge "$$DISK_GB" ] || fail "$$free GB are free here, and torch with its CUDA libraries wants $$DISK_GB. Make room, or lower the limit: make setup DISK_GB=8"; \
	uv=$$(command -v uv || true); \
	if [ -f "$$half" ] && [ -f "$$VENV/pyvenv.cfg" ]; then \
		echo "make setup: the last one was interrupted, starting again"; rm -rf "$$VENV"; \
	fi; \
	rm -f "$$stamp"; touch "$$half"; \
	if [ ! -x $(PY) ]; then \
		if [ -n "$$uv" ]; then uv venv --quiet --allow-existing --python "$$(command -v "$$PYTHON")" "$$VENV"; \
		else \
			"$$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || \
				fail "$$PYTHON cannot make virtual environments (its venv module is packaged apart). On Debian and Ubuntu: apt install python3-venv"; \
			"$$PYTHON" -m venv "$$VENV"; \
		fi; \
	fi; \
	echo "make setup: installing requirements.lock into $$VENV (about 6 GB on Linux, minutes)"; \
	if [ -n "$$uv" ]; then \
		uv pip install --quiet --python $(PY) --require-hashes -r requirements.lock; \
		uv pip install --quiet --python $(PY) --no-deps --no-build-isolation -e .; \
	else \
		$(PY) -m pip install --quiet --require-hashes -r requirements.lock; \
		$(PY) -m pip install --quiet --no-deps --no-build-isolation -e .; \
	fi; \
	$(PY) -m ipykernel install --sys-prefix --name python3 --display-name "Python 3 (convcost)" >/dev/null; \
	rm -f "$$half"; echo "$$want" > "$$stamp.part"; mv "$$stamp.part" "$$stamp"; \
	echo "make setup: done"

data: setup ## fetch and prepare the data sets (or find them in $CONVCOST_DATA)
	@$(PY) -m convcost data

# A wrong profile is told before set-up takes minutes.
KNOWN_PROFILE = case "$$PROFILE" in auto|quick|cpu|gpu) ;; *) \
	printf 'make %s: unknown PROFILE "%s": choose one of auto, quick, cpu, gpu\n' $@ "$$PROFILE" >&2; exit 2;; esac
# $(call flag,NAME,--option): the option where NAME=1
flag = case "$$$(1)" in ''|0) ;; 1) set -- "$$@" $(2);; *) \
	printf 'make %s: $(1)="%s": give $(1)=1, or leave it out\n' $@ "$$$(1)" >&2; exit 2;; esac

reproduce: ## the main job: run the notebooks (PROFILE=auto|quick|cpu|gpu NOTEBOOK=01 FORCE=1 HOST=...)
	@$(KNOWN_PROFILE); $(call flag,FORCE,--force)
	@$(MAKE) --no-print-directory setup
	@$(call flag,FORCE,--force); \
	$(PY) -m convcost reproduce --profile="$$PROFILE" --notebook="$$NOTEBOOK" $(HOST_OPTION) "$$@"

measure: ## a notebook's measurements alone (NOTEBOOK=02 PROFILE=gpu MINUTES=12 ARCHIVE=02-gpu.tar.xz)
	@$(KNOWN_PROFILE)
	@[ -n "$$NOTEBOOK" ] || { echo 'make measure: which one? such as NOTEBOOK=02' >&2; exit 2; }
	@$(MAKE) --no-print-directory setup
	@$(PY) -m convcost measure --profile="$$PROFILE" $${MINUTES:+--minutes="$$MINUTES"} \
		$${ARCHIVE:+--archive="$$ARCHIVE"} -- "$$NOTEBOOK"

sweep: ## the trainings of notebook 04 alone, on a cluster too (SCHEDULER=tcp://... PROFILE=...)
	@$(KNOWN_PROFILE)
	@$(MAKE) --no-print-directory setup
	@$(PY) -m convcost sweep --profile="$$PROFILE" $${SCHEDULER:+--scheduler="$$SCHEDULER"} \
		$${RESOURCES:+--resources="$$RESOURCES"} $${WORKERS:+--workers="$$WORKERS"}

# All parts run, whatever the first ones say; one closing line names those that failed. `lib` is
# there for the examples in its docstrings; two processes share its tests, and whichever is done
# takes half of what the other has left: of files alone the longest would be waited for. The
# notebooks' own results go to build/, and start from nothing, so that they measure again; they run
# one after the other, since they measure time.
test: setup ## pytest, the notebooks on the quick profile, lint
	@failed=""; \
	part() { name="$$1"; shift; echo; echo "== $$name"; "$$@" || failed="$$failed $$name"; }; \
	rm -rf build/test-results; \
	part library env MPLBACKEND=Agg $(PY) -m pytest -n 2 --dist worksteal --doctest-modules tests lib; \
	part notebooks env CONVCOST_PROFILE=quick CONVCOST_RESULTS="$$(pwd)/build/test-results" \
		$(PY) -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=600 -o timeout=900 notebooks; \
	part lint $(SELF) lint; \
	echo; \
	if [ -z "$$failed" ]; then echo "make test: library, notebooks and lint all pass"; \
	else echo "make test: FAILED:$$failed"; exit 1; fi

test-gpu: setup ## the tests that need a CUDA GPU (minutes; `make test` runs them where there is one)
	@$(PY) -c 'import sys, torch; sys.exit(None if torch.cuda.is_available() else \
		"make test-gpu: torch finds no CUDA GPU here; make doctor says what this machine has")'
	@$(PY) -m pytest -m gpu tests/test_gpu.py

figures: setup ## redraw the figures whose data or drawing changed (ALL=1: all of them; no torch)
	@$(call flag,ALL,--all); MPLBACKEND=Agg $(PY) -m convcost figures "$$@"

lab: setup ## open copies of the notebooks in JupyterLab (LAB_ARGS=... for its options)
	@$(PY) -m convcost lab -- $$LAB_ARGS

lint: setup ## ruff check, ruff format, notebook hygiene
	@failed=0; \
	$(PY) -m ruff check . || failed=1; \
	$(PY) -m ruff format --check . || failed=1; \
	$(PY) -m convcost hygiene || failed=1; \
	exit $$failed

# Not after `setup`: the doctor answers within seconds, and is asked where set-up failed, too.
doctor: ## what this machine has, what is wrong with it, minutes per profile (10 s at most)
	@if [ -x $(PY) ]; then python=$(PY); else python="$$PYTHON"; fi; \
	"$$python" -c 'import sys; sys.exit(3 * (sys.version_info < (3, 11)))' || { [ $$? = 3 ] && \
		echo "make doctor: Python 3.11 or newer is needed; name one: make doctor PYTHON=python3.12" >&2 || \
		echo "make doctor: $$python does not start; what it says is above" >&2; exit 1; }; \
	PYTHONPATH=lib "$$python" -m convcost doctor

bench: setup ## speed and scale, each beside a baseline in the same run
	@failed=""; \
	for file in benchmarks/bench_*.py; do \
		[ -f "$$file" ] || continue; \
		echo "== $$file"; MPLBACKEND=Agg $(PY) "$$file" || failed="$$failed $$file"; \
	done; \
	if [ -n "$$failed" ]; then echo "make bench: FAILED:$$failed"; exit 1; fi

lock: ## resolve requirements.lock anew from pyproject.toml and requirements.in (needs uv)
	@uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
		--extra all pyproject.toml requirements.in -o requirements.lock

clean: ## remove what can be made again; never data/, lab/ or results
	@rm -rf build .pytest_cache .ruff_cache .hypothesis notebooks/.ipynb_checkpoints
	@find . \( -path "./$$VENV" -o -path ./data -o -path ./.git \) -prune \
		-o -name __pycache__ -type d -prune -exec rm -rf {} +
	@rm -f notebooks/*.part.ipynb notebooks/*.failed.ipynb

distclean: clean ## clean, and remove .venv
	@if [ -f "$$VENV/pyvenv.cfg" ]; then rm -rf "$$VENV"; fi
	@rm -rf lib/convcost.egg-info
