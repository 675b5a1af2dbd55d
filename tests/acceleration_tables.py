"""Tables of notebook 06 worked by hand: three seeds, a thousand test images, round ratios."""

import pandas as pd

MACS, PARAMS = 34_000_000, 1_000_000
BASE, CONTROL = (900, 910, 905), (904, 912, 910)  # right of 1,000, by seed


def steps(method, setting, words, *, macs=MACS, params=PARAMS, seeds=3, **more):
    """One row a step and seed. words: (word, right by seed, epochs so far)."""
    return [
        {"method": method, "setting": setting, "seed": seed, "step": step, "word": word,
         "epochs": epochs, "train_s": 10.0 if word == "train" else None, "bf16": False,
         "params": params, "macs": macs, "zero_weights": 0, "file_bytes": 4 * params,
         "sparse_bytes": 5 * params, "deflated_bytes": 3 * params, "packed_bytes": None,
         "train_images": 2_000, "test_images": 1_000, "test_correct": right[seed], "same": 990,
         "difference": 0.01, "status": "trained"}
        | more
        | ({"file_bytes": params} if word == "int8" else {})
        for seed in range(seeds)
        for step, (word, right, epochs) in enumerate(words)
    ]  # fmt: skip


def less(points, of=CONTROL):
    """So many images fewer than `of`, at each seed: a tenth of a point each."""
    return tuple(right - points for right in of)


def exported(right):
    return [("onnx", right, 5), ("int8", less(1, right), 5)]


def nets(*, seeds=3, export=True, one_bit=50, student=10):
    """Every method; `export`: with the steps of ONNX Runtime. In tenths of a point: what one bit
    loses after training, what a teacher gives the student."""
    after = exported if export else lambda right: []
    base = ("base", BASE, 4)

    def tuned(method, setting, word, before, lost, *, end=True, **costs):
        right = less(lost)
        words = [base, (word, less(before, BASE), 4), ("train", right, 5)]
        return steps(method, setting, words + (after(right) if end else []), seeds=seeds, **costs)

    def anew(method, setting, right, *, end=False, epochs=5, **costs):
        words = [("train", right, epochs)]
        return steps(method, setting, words + (after(right) if end else []), seeds=seeds, **costs)

    small = {"macs": MACS // 4, "params": PARAMS // 4}
    alone = less(20)
    rows = [
        *steps("none", "trained", [base], seeds=seeds),
        *steps("none", "trained on", [base, ("train", CONTROL, 5), *after(CONTROL)], seeds=seeds),
        *tuned("quantisation", "8 bits", "quantise", 0, 1, end=False, packed_bytes=PARAMS),
        *tuned("quantisation", "2 bits", "quantise", 600, 15, end=False, packed_bytes=PARAMS / 4),
        *tuned("quantisation", "1 bits", "quantise", 800, one_bit, end=False,
               packed_bytes=PARAMS / 8),
        *tuned("mixed bits", "2 bits on average", "mix", 300, 5, end=False,
               packed_bytes=PARAMS / 4),
        *tuned("structured pruning", "25% of the filters", "narrow", 300, 5,
               macs=MACS // 2, params=PARAMS // 2),
        *tuned("structured pruning", "50% of the filters", "narrow", 700, 12, **small),
        *tuned("structured pruning, random", "50% of the filters", "narrow", 700, 14, end=False,
               **small),
        *anew("small net from scratch", "50% of the filters", less(10), **small),
        *tuned("unstructured pruning", "30% of the weights", "mask", 1, 0, end=False,
               zero_weights=300_000),
        *tuned("unstructured pruning", "90% of the weights", "mask", 500, 4, end=False,
               zero_weights=900_000),
        *tuned("low rank", "svd, 50% kept", "factorise", 200, 3, macs=MACS // 2,
               params=PARAMS // 2 + 1),
        *tuned("low rank", "tucker, 50% kept", "factorise", 250, 4, macs=MACS // 2,
               params=PARAMS // 2 + 2),
        *tuned("blocks removed", "1 of 9", "drop", 10, 2, macs=30_000_000, params=900_000),
        *tuned("blocks removed", "3 of 9", "drop", 90, 30, macs=22_000_000, params=700_000),
        *anew("compact design", "separable", less(60), end=True, macs=MACS // 8,
              params=PARAMS // 8),
        *tuned("combined", "half the filters, taught, int8", "narrow", 700, 8, **small),
        *anew("distillation", "student alone", alone, end=True, macs=MACS // 15,
              params=PARAMS // 15),
        *anew("distillation", "temperature 4, weight 0.9", less(-student, alone),
              macs=MACS // 15, params=PARAMS // 15),
        *anew("distillation", "weak teacher", less(30, alone), macs=MACS // 15,
              params=PARAMS // 15),
        *anew("distillation", "student alone, twice as long", less(-6, alone), epochs=10,
              macs=MACS // 15, params=PARAMS // 15),
    ]  # fmt: skip
    return pd.DataFrame(rows)


SHAPES = {
    ("none", "trained on"): 1.0,
    ("structured pruning", "25% of the filters"): 1.6,
    ("structured pruning", "50% of the filters"): 3.0,
    ("distillation", "student alone"): 8.0,
    ("low rank", "svd, 50% kept"): 1.2,
    ("low rank", "tucker, 50% kept"): 1.1,
    ("blocks removed", "1 of 9"): 1.125,
    ("blocks removed", "3 of 9"): 1.5,
    ("compact design", "separable"): 2.0,
}
"""What was timed -> times as fast as the base, in float32."""
CASES = ((1, 1), (1, 2), (64, 2))


def times(*, onnx=True, int8=2.5, stable=True):
    """Four repetitions of ten calls; a millisecond an image in float32 by ONNX Runtime, two by
    PyTorch. A repetition that is slow is so for both."""
    rows = []
    for (method, setting), faster in SHAPES.items():
        for batch, threads in CASES:
            gain = int8 * (1.2 if batch > 1 else 1)
            ways = {("torch", "float32"): 2e-3}
            if onnx:
                ways |= {("onnx", "float32"): 1e-3, ("onnx", "int8"): 1e-3 / gain}
            for (runtime, number_format), each in ways.items():
                for net, ratio in (("base", 1.0), ("net", faster)):
                    for repetition, slow in enumerate((1.0, 1.1, 1.0, 1.3)):
                        noise = 1 + 0.001 * repetition * (net == "net")
                        rows.append(
                            {"method": method, "setting": setting, "batch": batch,
                             "threads": threads, "input_px": 28, "net": net, "runtime": runtime,
                             "format": number_format, "repetition": repetition, "calls": 10,
                             "seconds": 10 * batch * slow * noise * each / ratio, "stable": stable}
                        )  # fmt: skip
    return pd.DataFrame(rows)


def predicted():
    return pd.DataFrame(
        [{"method": method, "setting": setting, "batch": batch, "macs": int(MACS / faster),
          "predicted_s": 2e-3 * batch / faster * 1.1, "base_s": 2e-3 * batch}
         for (method, setting), faster in SHAPES.items() for batch in (1, 64)]
    )  # fmt: skip


def blocks():
    """The first block of a stage costs 30 points, the others 1; two cost what both do."""
    alone = {f"stage{stage}.block{block}": 300 if block == 1 else 10
             for stage in (1, 2, 3) for block in (1, 2, 3)}  # fmt: skip
    both = {f"{one} + {other}": 20 for one, other in (("stage1.block2", "stage2.block3"),)}
    rows = []
    for seed, right in enumerate(BASE):
        for removed, lost in ({"none": 0} | alone | both).items():
            number = 0 if removed == "none" else 1 + removed.count("+")
            rows.append(
                {"seed": seed, "removed": removed, "blocks": number,
                 "judged_share": 0.9, "params": PARAMS - 100_000 * number,
                 "macs": MACS - 3_400_000 * number, "test_images": 1_000,
                 "test_correct": right - lost}
            )  # fmt: skip
    return pd.DataFrame(rows)


def reconstruction(*, relu=1.5):
    """Errors behind ReLU are `relu` times those before it."""
    return pd.DataFrame(
        [{"seed": seed, "factors": factors, "share": share, "layer": layer,
          "weight_error": 0.4, "output_error_before": 0.2 + 0.001 * seed,
          "output_error_normalised": None if layer == "b" else 0.2 + 0.001 * seed,
          "output_error_after_relu": None if layer == "b" else relu * (0.2 + 0.001 * seed),
          "network_error": 0.5}
         for seed in range(3) for factors in ("svd", "tucker") for share in (0.25, 0.5)
         for layer in ("a", "b")]
    )  # fmt: skip


def sensitivities():
    return pd.DataFrame(
        [{"seed": seed, "bits": 2, "layer": layer, "weights": 100, "score": 0.9 - lost,
          "lost": lost + 0.001 * seed}
         for seed in range(3) for layer, lost in (("a", 0.3), ("b", 0.01))]
    )  # fmt: skip


def format_accuracies():
    sizes = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
    return pd.DataFrame(
        [{"seed": seed, "format": name, "file_bytes": size * PARAMS, "test_images": 1_000,
          "test_correct": right - (name == "bfloat16"), "same": 1_000 - 3 * (name == "bfloat16")}
         for seed, right in enumerate(BASE) for name, size in sizes.items()]
    )  # fmt: skip


def format_times():
    each = {"float64": 4e-3, "float32": 2e-3, "bfloat16": 1e-3}
    return pd.DataFrame(
        [{"format": name, "batch": batch, "threads": threads, "input_px": 28,
          "repetition": repetition, "calls": 10,
          "seconds": 10 * batch * one * (1 + 0.01 * repetition), "stable": True}
         for batch, threads in CASES for repetition in range(4) for name, one in each.items()]
    )  # fmt: skip


def sparse_times():
    """A dense layer takes 1 ms packed and 1.2 plain; a sparse one 2 ms times what is not zero, and
    0.5 ms besides: even at 75 % zeros."""
    rows = []
    for channels, px in ((32, 14), (64, 7)):
        for batch in (1, 64):
            for sparsity in (0.0, 0.5, 0.9, 0.99):
                ways = {"dense": 1.2, "dense, packed": 1.0, "dense product": 1.5,
                        "csr (scipy)": 2 * (1 - sparsity) + 0.5,
                        "csr (torch)": 3 * (1 - sparsity) + 0.6}  # fmt: skip
                if channels == 64:  # never worth it
                    ways |= {"csr (scipy)": 2.0, "csr (torch)": 3.0}
                rows += [
                    {"channels": channels, "map_px": px, "sparsity": sparsity, "batch": batch,
                     "execution": name, "threads": 1, "repetition": repetition, "calls": 10,
                     "seconds": 1e-2 * batch * milliseconds * (1 + 0.01 * repetition),
                     "stable": True}
                    for name, milliseconds in ways.items() for repetition in range(4)
                ]  # fmt: skip
    return pd.DataFrame(rows)


def zeros():
    return pd.DataFrame(
        [{"seed": seed, "images": 10, "macs": 10 * MACS, "skippable": 4 * MACS}
         for seed in range(3)]
    )  # fmt: skip


def searched():
    """Wider and deeper nets are better; the two seeds differ by a picture."""
    return pd.DataFrame(
        [{"kind": kind, "width": width, "blocks": blocks, "seed": seed,
          "params": 100 * width * blocks, "macs": 10_000 * width * blocks + 1_000 * len(kind),
          "train_images": 500, "train_s": 1.8, "held_out_images": 1_000,
          "held_out_correct": 700 + 2 * width + 5 * blocks + seed, "test_images": 1_000,
          "test_correct": 690 + 2 * width + 5 * blocks + seed, "status": "trained"}
         for kind in ("plain", "shuffle") for width in (8, 16, 32) for blocks in (1, 2)
         for seed in (0, 1)]
    )  # fmt: skip


def searched_times():
    return pd.DataFrame(
        [{"kind": kind, "width": width, "blocks": blocks, "batch": 1, "threads": 1,
          "repetition": repetition, "calls": 10, "seconds": 1e-4 * width * blocks, "stable": True}
         for kind in ("plain", "shuffle") for width in (8, 16, 32) for blocks in (1, 2)
         for repetition in range(3)]
    )  # fmt: skip


def trials():
    """Random search halves its gap with every trial, the largest net is best at once."""
    return pd.DataFrame(
        [{"limit_share": limit, "strategy": strategy, "repeat": repeat, "trials": trial,
          "gap": 0.0 if strategy == "largest within the limit" else 0.04 / 2**trial}
         for limit in (0.25, 0.5) for repeat in range(4) for trial in (1, 2, 3, 4)
         for strategy in ("random", "Optuna (TPE)", "fitted model", "largest within the limit")]
    )  # fmt: skip


def tables(thin=False, **changes):
    """All tables; `thin`: as a run writes them that has one seed and none of the packages."""
    made = {
        "accelerated_nets": nets(seeds=1, export=False) if thin else nets(),
        "accelerated_times": times(onnx=not thin),
        "predicted_speeds": predicted(),
        "removed_blocks": blocks().query("seed == 0 and blocks < 2") if thin else blocks(),
        "reconstruction_errors": reconstruction(),
        "layer_sensitivities": sensitivities(),
        "format_accuracies": format_accuracies(),
        "format_times": format_times(),
        "sparse_weight_times": sparse_times(),
        "skippable_products": zeros(),
        "searched_nets": searched(),
        "searched_times": searched_times().head(0) if thin else searched_times(),
        "search_trials": trials().head(0) if thin else trials(),
    }
    return made | changes
