"""A process that does one unit after the other: `python -m convcost.sweep.worker`.

`processes.LocalProcesses` starts it, and says there how they speak with each other.
"""

import json
import os
import queue
import sys
import threading

from convcost.sweep.unit import expect, perform, provenance, resolve


def main() -> None:
    """Work until standard input ends."""
    # whatever a library prints must not get between the outcomes
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # A process that forks closes its copy of sys.stdin, and for that waits for whoever reads from
    # it: `listen` always does. So it has a pipe of its own, and sys.stdin is empty.
    requests = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    sys.stdin = open(os.devnull)  # noqa: SIM115 - for the length of the process

    def say(message: dict) -> None:
        try:
            out.write(json.dumps(message).encode() + b"\n")
            out.flush()
        except BrokenPipeError:
            os._exit(0)

    told = json.loads(requests.readline())
    if told["home"] and told["home"] not in sys.path:
        sys.path.append(told["home"])
    function = resolve(told["function"])
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(told["threads"])
    expect(told["data"])
    provenance()  # found out once, and not in the time of the first unit
    configurations: queue.SimpleQueue = queue.SimpleQueue()

    def listen() -> None:
        for line in requests:
            configurations.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    say({"ready": True})
    while True:
        say(perform(function, configurations.get()))


if __name__ == "__main__":
    main()
