"""A process that does one unit after the other: `python -m convcost.sweep.worker`.

`executors.LocalProcesses` starts it and speaks with it as `sweep.crew` says: a line of JSON with
the function's name and where it is found, then a configuration per line.
"""

import json
import sys

from convcost.sweep import crew
from convcost.sweep.unit import expect, perform, provenance, resolve


def prepare(pipe):
    """What to do with a configuration, from the first line on the pipe."""
    told = json.loads(pipe.readline())
    if told["home"] and told["home"] not in sys.path:
        sys.path.append(told["home"])
    function = resolve(told["function"])
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(told["threads"])
    expect(told["data"])
    provenance()  # found out once, and not in the time of the first unit
    return lambda configuration, tell: perform(function, configuration)


if __name__ == "__main__":
    crew.serve(prepare)
