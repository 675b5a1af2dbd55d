"""A process that times a net's first calls: `python -m convcost.measuring.timing.cold '<json>'`.

`cold_layer_times` starts it. Its argument says what to run; the answer is a line of JSON on
standard output, a list of [layer, seconds of the first call, median seconds of the later ones].
"""

import gc
import json
import os
import statistics
import sys

import torch

from convcost import nets
from convcost.measuring.timing.layers import Stamps, by_call, evaluating, layer_calls


def main() -> None:
    # whatever a library prints must not get into the answer
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    asked = json.loads(sys.argv[1])
    device, later_calls = asked["device"], asked["later_calls"]
    torch.set_num_threads(asked["threads"])
    torch.manual_seed(0)
    options = {name: asked[name] for name in ("num_classes", "in_channels")}
    model = nets.build(asked["net"], device=device, **options)
    images = torch.rand(1, *asked["input_shape"], device=device)
    stamps = Stamps(model, device)
    gc.disable()
    with evaluating(model, device):
        stamps.wait()
        # nothing before it may run the net, not even to learn the names of its layers
        with stamps:
            model(images)
        first = stamps.take()
        calls = layer_calls(model, images)
        with stamps:
            for _ in range(later_calls):
                model(images)
        later = by_call(stamps.take(), calls, later_calls)
    first = [seconds[0] for seconds in by_call(first, calls, 1)]
    later = [statistics.median(seconds) for seconds in later]
    rows = [(name, *s) for (name, _), *s in zip(calls, first, later, strict=True)]
    answer.write(json.dumps(rows) + "\n")
    answer.flush()


if __name__ == "__main__":
    main()
