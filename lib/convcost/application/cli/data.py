"""`python -m convcost data`: fetch and prepare what is missing, check what is there."""

import sys


def add_arguments(parser) -> None:
    parser.add_argument(
        "--set",
        dest="sets",
        action="append",
        metavar="NAME",
        help="one set only; may be given several times (default: all)",
    )
    parser.add_argument("--check", action="store_true", help="check only, download nothing")


def run(args) -> int:
    """Print a table of the sets, and of the published tables that the notebooks read.

    Returns 1 where one is missing or damaged, else 0.
    """
    from convcost import datasets
    from convcost.core import tables
    from convcost.core.errors import ConvcostError, DamagedFileError
    from convcost.datasets import benchmarks

    if missing := datasets.missing_folder():
        then = "" if args.check else "; what is not in data/raw is downloaded"
        print(f"{missing}{then}", file=sys.stderr, flush=True)
    asked = args.sets or [*datasets.names(), *benchmarks.COLLECTIONS]
    published = [benchmarks.find(name) for name in asked if name in benchmarks.COLLECTIONS]
    specs = [datasets.find(name) for name in asked if name not in benchmarks.COLLECTIONS]
    rows, failures = [], []
    for spec in specs:
        origin, sound = "-", "-"
        try:
            if not args.check and not datasets.available(spec):
                megabytes = spec.download_bytes / 1e6
                print(f"{spec.title}: downloading {megabytes:,.0f} MB", file=sys.stderr, flush=True)
                datasets.fetch(spec)
            for split in spec.splits:
                loaded = datasets.load(spec, split, allow_stand_in=False, download=False)
                origin = loaded.origin
                # None: the set comes with scikit-learn, there is no file of ours to check
                sound = {True: "ok", False: "ok (pixels differ)", None: "ok"}[loaded.is_reference]
        except ConvcostError as error:
            sound = "missing"
            if isinstance(error, DamagedFileError):
                sound = "damaged"
                origin = next(r["where"] for r in datasets.status() if r["name"] == spec.key)
            failures.append(f"{spec.key}: {error}")
        rows.append((spec.key, f"{spec.total:,}", origin, sound, spec.licence))
    for collection in published:
        origin, sound = "-", "ok"
        try:
            if not args.check and benchmarks.where(collection) is None:
                print(f"{collection.title}: downloading", file=sys.stderr, flush=True)
                benchmarks.fetch(collection)
            origin = benchmarks.check(collection).label
        except ConvcostError as error:
            sound = "missing"
            if isinstance(error, DamagedFileError):
                sound, origin = "damaged", benchmarks.where(collection).label
            failures.append(f"{collection.key}: {error}")
        rows.append((collection.key, "tables", origin, sound, collection.licence))
    print(tables.text(("set", "images", "where", "sha256", "licence"), rows))
    print("\nWhom to cite:")
    for spec in (*specs, *published):
        print(f"  {spec.title}: {spec.citation}")
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0
