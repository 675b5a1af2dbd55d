"""The command line: `python -m convcost COMMAND`.

Each command is a module of this package with `add_arguments(parser)` and `run(args)`, which
returns the exit status; its line of help is in `COMMANDS`. Modules are imported only when their
command is called, so that `--help` answers at once, and a command that needs no torch never loads
it.
"""

import argparse
import errno
import importlib
import re
import sys

from convcost.core import paths
from convcost.core.errors import ConvcostError, cannot_write
from convcost.core.extras import optional

# command -> one line; the module of the same name in this package does the work
COMMANDS = {
    "count": "count the operations, parameters and activations of a network",
    "predict": "how long a net takes on a device; how well a table of times lets one say so",
    "calibrate": "this machine's prices of work, so that `predict` can tell times on it",
    "claims": "every claim of the sources, with its verdict",
    "reproduce": "run the notebooks: the project's main job",
    "run": "run one notebook safely, with parameters",
    "measure": "the measurements of a notebook, without Jupyter",
    "merge": "take in what another machine has measured",
    "sweep": "the trainings of notebook 04, on this machine or a cluster",
    "cluster": "a Dask scheduler and workers on this machine, open to nobody else",
    "lab": "the notebooks in JupyterLab, as copies",
    "data": "fetch and prepare the data sets",
    "figures": "redraw every figure from data/ (no torch needed)",
    "doctor": "what this machine has, and what each profile will take",
    "hygiene": "check the committed notebooks",
}

# these speak of the repository's own files, which an installed package alone does not have
OF_THE_COMPENDIUM = {"claims", "reproduce", "lab", "figures", "doctor", "hygiene"}

# what a full disk, a quota and a read-only folder say: no fault of ours
_SURROUNDINGS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns its exit status: 0 well, 1 the job failed, 2 bad input."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="python -m convcost", description=__doc__.split("\n")[0])
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in argv if not word.startswith("-")), None)
    for name, line in COMMANDS.items():
        sub = subparsers.add_parser(name, help=line, description=line)
        if name == chosen:
            module = importlib.import_module(f"convcost.application.cli.{name}")
            module.add_arguments(sub)
            sub.set_defaults(run=module.run)
    args = parser.parse_args(_with_negatives(argv))
    try:
        if args.command in OF_THE_COMPENDIUM:
            if lacking := paths.without_compendium(f"`convcost {args.command}`"):
                raise lacking
        with optional():
            return args.run(args) or 0
    except ConvcostError as error:
        print(f"convcost {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"convcost {args.command}: stopped", file=sys.stderr)
        return 130
    except SystemExit as stop:  # no command of ours does: some code of the user's, or a library
        print(
            f"convcost {args.command}: ended by sys.exit({stop.code!r}) in the code that it called",
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:  # `… | head` closed its end
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno not in _SURROUNDINGS:
            raise
        print(f"convcost {args.command}: {cannot_write(error)}", file=sys.stderr)
        return 2


def _with_negatives(argv: list[str]) -> list[str]:
    """Words with "--input", "-3,8" as "--input=-3,8": argparse takes "-3,8" for an option, and
    would say only that a value is missing. What is wrong with the value, the command says.
    """
    joined: list[str] = []
    for word in argv:
        before = joined[-1] if joined else ""
        if re.match(r"-\d", word) and before.startswith("--") and "=" not in before:
            joined[-1] = f"{before}={word}"
        else:
            joined.append(word)
    return joined
