"""`python -m convcost cluster`: a Dask scheduler and workers on this machine, open to nobody else.

A scheduler runs whatever it is sent, so it listens at the given host only, its workers too, and
what they show over HTTP at 127.0.0.1 only.
"""

import argparse
import ipaddress
import logging
import os
import signal
import sys
import tempfile
import threading

HTTP_ADDRESS = "127.0.0.1:0"  # of dashboards: any free port, this machine only


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where it listens, how many workers."""
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address or name of this machine at which others reach it; default: 127.0.0.1, which "
        "nobody else does. Whoever reaches it can run programs here",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="default: the usable cores")
    parser.add_argument("--port", type=int, default=8786, help="default: 8786; 0: any free one")


def run(args: argparse.Namespace) -> int:
    """Start it, print what to type, and stay until Ctrl-C, which ends scheduler and workers."""
    from convcost import sweep
    from convcost.core import machine
    from convcost.core.errors import BadInputError, ConvcostError
    from convcost.core.extras import optional

    count = args.workers if args.workers is not None else machine.usable_cores(os.cpu_count()) or 1
    sweep.check_where(workers=count)
    if not 0 <= args.port < 2**16:
        raise BadInputError(f"--port {args.port}: a number from 0 to 65535 is expected")
    if _is_everywhere(args.host):
        raise BadInputError(
            f"--host {args.host!r} is every network of this machine, and whoever reaches a "
            "scheduler can run programs on it: name one address, such as 127.0.0.1"
        )
    with optional():
        from distributed import LocalCluster
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with tempfile.TemporaryDirectory(prefix="convcost-cluster-") as folder:
        try:
            cluster = LocalCluster(
                host=args.host,
                scheduler_port=args.port,
                n_workers=count,
                threads_per_worker=1,  # each does one unit at a time, in a process beside it
                memory_limit=0,  # Dask would count its own process, not the unit's
                dashboard_address=HTTP_ADDRESS,
                worker_dashboard_address=HTTP_ADDRESS,
                local_directory=folder,
                silence_logs=logging.CRITICAL,  # what goes wrong with a unit, the driver says
            )
        except (OSError, RuntimeError, ValueError) as error:
            while error.__cause__:
                error = error.__cause__
            raise ConvcostError(
                f"no scheduler can listen at {args.host}, port {args.port} ({error}): choose "
                "another with --host or --port"
            ) from None
        with cluster:
            print(f"scheduler {cluster.scheduler_address}, {count} workers; Ctrl-C ends them")
            print(f"drive it: make sweep SCHEDULER={cluster.scheduler_address} PROFILE=…")
            sys.stdout.flush()
            while not ended.wait(1.0):
                pass
    return 0


def _is_everywhere(host: str) -> bool:
    try:
        return not host or ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:  # a name
        return False
