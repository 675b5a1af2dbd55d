"""A process that trains one seed after the other: `python -m convcost.training.worker`.

`train_many` starts it and speaks with it over pipes, so it works from a notebook's kernel, from a
script without a main guard, and after torch has threads. Standard input: a line of JSON (the job),
the images and labels of both splits as raw bytes, then a seed per line. Standard output: a line of
JSON per event. When standard input ends, whoever asked is gone, and the process leaves at once:
the net in flight is lost, nothing else.
"""

import json
import os
import queue
import sys
import threading

from convcost.training import job, shelf
from convcost.training.loop import train


def main() -> None:
    # whatever a library prints must not get between the events
    events = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def tell(event: str, **more) -> None:
        try:
            events.write(json.dumps({"event": event, **more}).encode() + b"\n")
            events.flush()
        except BrokenPipeError:
            os._exit(0)

    net, sets, recipe, execution, family = job.read(sys.stdin.buffer)
    seeds: queue.SimpleQueue[int] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            seeds.put(int(line))
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    tell("ready")
    while True:
        seed = seeds.get()
        try:
            trained = train(
                net, sets, recipe, seed, execution=execution,
                on_epoch=lambda number, seed=seed: tell("epoch", seed=seed, number=number),
            )  # fmt: skip
            shelf.save(trained, family)
        except Exception as error:
            tell("failed", seed=seed, reason=f"{type(error).__name__}: {error}")
        else:
            tell("done", seed=seed)


if __name__ == "__main__":
    main()
