"""`python -m convcost doctor`: what this machine has, and what each profile will take."""

import json
from dataclasses import asdict


def add_arguments(parser) -> None:
    parser.add_argument("--json", action="store_true", help="an object instead of text")


def run(args) -> int:
    from convcost.application import doctor
    from convcost.core import machine

    findings = doctor.examine()
    healthy = doctor.healthy(findings)
    if args.json:
        found = {
            "healthy": healthy,
            "machine": machine.describe(),
            "findings": [asdict(finding) for finding in findings],
        }
        print(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        print(doctor.report(findings))
    return 0 if healthy else 1
