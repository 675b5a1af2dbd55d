"""`python -m convcost claims`: the ledger, as text or JSON."""

import json
import sys
from collections import Counter
from dataclasses import asdict


def add_arguments(parser) -> None:
    parser.add_argument("--source", help="one source only, by its key")
    parser.add_argument("--verdict", help='one verdict only, such as "differs"')
    parser.add_argument("--notebook", help="one notebook only, by number or name")
    parser.add_argument("--machine", help="a folder of data/results/ (default: the largest run)")
    parser.add_argument("--json", action="store_true", help="a list of objects instead of text")


def run(args) -> int:
    from convcost import claims, records

    entries = claims.ledger(
        source=args.source, verdict=args.verdict, notebook=args.notebook, machine=args.machine
    )
    wrong = _said_of_own_runs(records)
    if args.json:
        print(json.dumps([asdict(entry) for entry in entries], indent=1, ensure_ascii=False))
        return wrong
    for entry in entries:
        print(f"{entry.key}  [{entry.locator}]")
        print(f"    {entry.statement}")
        parts = [f"published {entry.published_text}"] if entry.published_text else []
        parts += [f"reference {entry.reference}"] if entry.reference is not None else []
        parts += [f"this run {entry.this_run}"] if entry.this_run is not None else []
        if parts:
            print(f"    {' · '.join(parts)}" + (f"  ({entry.unit})" if entry.unit else ""))
        print(f"    {entry.verdict}" + (f": {entry.reason}" if entry.reason else ""))
        if entry.verdict_reference != entry.verdict:
            print(f"    (reference: {entry.verdict_reference})")
        if entry.tolerance:
            print(f"    tolerance {entry.tolerance}: {entry.tolerance_reason}")
    totals = Counter(claims.family(entry.verdict) for entry in entries)
    print(f"\n{len(entries)} claims: " + " · ".join(f"{n} {v}" for v, n in totals.most_common()))
    return wrong


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
