"""`python -m convcost lab`: the notebooks in JupyterLab, as copies in `lab/`.

JupyterLab saves what it shows, so whoever ran a notebook there would overwrite the committed
outputs of the reference run. A copy is beside `notebooks/`, not under it, so that its links hold.
A copy that was changed is its owner's: it is never replaced.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path

_MADE = ".made.json"  # copy -> sha256 of what it was made from


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What JupyterLab is told."""
    parser.add_argument("--prepare-only", action="store_true", help="make the copies, and stop")
    parser.add_argument(
        "options", nargs="*", metavar="OPTION", help="of JupyterLab, behind --: -- --no-browser"
    )


def run(args: argparse.Namespace) -> int:
    """Copies, then JupyterLab, until it is ended; its status."""
    from convcost.core import paths

    for line in prepare(paths.NOTEBOOKS, paths.LAB):
        print(line, flush=True)
    if args.prepare_only:
        return 0
    where = f"/lab/tree/{paths.LAB.relative_to(paths.ROOT).as_posix()}"
    start = [f"--ServerApp.root_dir={paths.ROOT}", f"--LabApp.default_url={where}"]
    return subprocess.run([sys.executable, "-m", "jupyterlab", *start, *args.options]).returncode


def prepare(originals: Path, folder: Path) -> list[str]:
    """Bring the copies up to date; lines for the user come out.

    A copy that nobody changed follows its original. One that was changed stays; where its original
    is another one by now, that is put beside it, as `<name>.new-<digits of its sha256>.ipynb`.
    """
    from convcost import records
    from convcost.core import paths
    from convcost.core.errors import writing

    made = _made(folder)
    lines = []
    for original in sorted(originals.glob("*.ipynb")):
        content, copy = original.read_bytes(), folder / original.name
        now = hashlib.sha256(content).hexdigest()
        there = records.sha256(copy) if copy.exists() else None
        if there in (None, made.get(copy.name), now):
            target = copy if there != now else None
            made[copy.name] = now
        else:
            lines.append(
                f"{paths.shown(copy)}: yours, kept as it is (remove it to get a fresh copy)"
            )
            target = copy.with_name(f"{copy.stem}.new-{now[:8]}.ipynb")
            if made.get(copy.name) == now or target.exists():
                continue
            lines.append(
                f"{paths.shown(target)}: the notebook has changed since, this is the new one"
            )
        if target:
            with writing(target):
                records.write_atomically(target, content)
    with writing(folder / _MADE):
        records.write_atomically(folder / _MADE, (json.dumps(made, indent=1) + "\n").encode())
    return [f"copies of the notebooks are in {paths.shown(folder)}/", *lines]


def _made(folder: Path) -> dict[str, str]:
    try:
        told = json.loads((folder / _MADE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # then every copy that differs counts as changed
    return told if isinstance(told, dict) else {}
