"""`python -m convcost claims`: the ledger, as text or JSON."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict


def add_arguments(parser) -> None:
    parser.add_argument("--source", help="one source only, by its key")
    parser.add_argument("--verdict", help='one verdict only, such as "differs"')
    parser.add_argument("--kind", help="claim, setting, definition, history or cited")
    parser.add_argument("--notebook", help="one notebook only, by number or name")
    parser.add_argument("--machine", help="a folder of data/results/ (default: the largest run)")
    parser.add_argument("--json", action="store_true", help="a list of objects instead of text")


def run(args) -> int:
    from convcost import claims, records

    entries = claims.ledger(
        source=args.source, verdict=args.verdict, kind=args.kind, notebook=args.notebook,
        machine=args.machine,
    )  # fmt: skip
    wrong = _said_of_own_runs(records)
    if args.json:
        print(json.dumps([asdict(entry) for entry in entries], indent=1, ensure_ascii=False))
        return wrong
    for entry in entries:
        print("\n".join(_told(claims, entry)))
    counted = claims.counted(entries)
    totals = Counter(claims.family(entry.verdict) for entry in counted)
    print(
        f"\n{len(entries)} rows, {len(counted)} of them claims that count (no settings, "
        "definitions, history, citations; twins once): "
        + " · ".join(f"{n} {v}" for v, n in totals.most_common())
    )
    return wrong


def _told(claims, entry) -> Iterator[str]:
    yield f"{entry.key}  [{entry.locator}, {entry.kind}]"
    yield f"    {entry.statement}"
    parts = [f"published {entry.published_text}"] if entry.published_text else []
    parts += [f"reference {entry.reference}"] if entry.reference is not None else []
    if parts:
        yield f"    {' · '.join(parts)}" + (f"  ({entry.unit})" if entry.unit else "")
    why = claims.why(entry)
    yield f"    {claims.family(entry.verdict)}" + (f": {why}" if why else "")
    if entry.section and entry.verdict_this_run != claims.NOT_YET:
        said = entry.says or entry.verdict_this_run
        yield f"    this run: {entry.this_run}, {said}"
    if entry.tolerance:
        yield f"    rule: {entry.tolerance}"


def _said_of_own_runs(records) -> int:
    """Say on stderr what is wrong with the user's own results; 1 where something is damaged."""
    if mixed := records.mixed(records.LOCAL):
        print(f"mixed runs: {'; '.join(mixed)}", file=sys.stderr)
    faults = records.faults(records.LOCAL)
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        print("where those tables are needed, the reference's verdicts stand in", file=sys.stderr)
    return 1 if faults else 0
