"""Tables of notebook 06: nets made smaller or cheaper, by every method, and what they cost then."""

from convcost.records.schema import MACS, PARAMS, Column, Table, count, text

_METHOD = text("the method, as the sections of notebook 06 are called")
_SETTING = text("how far it was taken, in words")
_SEED = count("seed of initialisation, order and random choices; equal seeds begin from one net")
_SECONDS = Column("float", "wall-clock seconds of all calls of the repetition together", 0)
_REPETITION = count("number of the repetition, from 0, over all sessions")
_CALLS = count("calls in the repetition")
_BATCH = count("images in a batch")
_THREADS = count("threads of the arithmetic")
_STABLE = Column("bool", "whether load and drift stayed below their limits")
_INPUT = count("side of the square images")
_TRIED = count("test images")
_CORRECT = count("test images named rightly")
_BYTES = count("bytes of the file: safetensors, float32; of the steps onnx and int8 the ONNX file")

TABLES: dict[str, Table] = {
    "accelerated_nets": Table(
        "one net after one step of a method, for one seed",
        ("method", "setting", "seed", "step"),
        {
            "method": _METHOD,
            "setting": _SETTING,
            "seed": _SEED,
            "step": count("number of the step, from 0"),
            "word": text("what the step did: base, new, train, mask, narrow, factorise, drop, "
                         "quantise, mix, round, onnx or int8"),
            "epochs": count("epochs of training so far, over all steps"),
            "train_s": Column("float", "seconds of training in this step", 0, optional=True),
            "bf16": Column("bool", "whether trainings multiply in bfloat16"),
            "params": PARAMS,
            "macs": count("multiply-adds of one image; of onnx and int8 those of the ONNX graph"),
            "zero_weights": count("exact zeros among weights of convolutions and linear layers"),
            "file_bytes": _BYTES,
            "sparse_bytes": count("bytes with weights in the smaller of CSR and bitmap form"),
            "deflated_bytes": count("bytes of the safetensors file, compressed by zlib"),
            "packed_bytes": count("bytes with weights packed at their bits", optional=True),
            "train_images": count("training images"),
            "test_images": _TRIED,
            "test_correct": _CORRECT,
            "same": count("test images of the same class as after the step before", optional=True),
            "difference": Column(
                "float", "largest difference of an output from the step before, over the largest "
                "output there", 0, optional=True,
            ),
            "status": text("trained or diverged"),
        },
    ),
    "accelerated_times": Table(
        "one repetition of a net or of the base beside it, on the clock in turns",
        ("method", "setting", "batch", "threads", "net", "runtime", "format", "repetition"),
        {
            "method": _METHOD,
            "setting": _SETTING,
            "batch": _BATCH,
            "threads": _THREADS,
            "input_px": _INPUT,
            "net": text("net, or base: the net that nothing was done to"),
            "runtime": text("torch (channels last) or onnx (ONNX Runtime)"),
            "format": text("format of the numbers: float32, int8, bfloat16 or float16"),
            "repetition": _REPETITION,
            "calls": _CALLS,
            "seconds": _SECONDS,
            "stable": _STABLE,
        },
    ),
    "predicted_speeds": Table(
        "what the prices of this machine say of a net, by its calls alone",
        ("method", "setting", "batch"),
        {
            "method": _METHOD,
            "setting": _SETTING,
            "batch": _BATCH,
            "macs": MACS,
            "predicted_s": Column("float", "seconds of a batch in PyTorch, predicted", 0),
            "base_s": Column("float", "the same of the base", 0),
        },
    ),
    "removed_blocks": Table(
        "the base without some of its blocks, not trained on",
        ("seed", "removed"),
        {
            "seed": _SEED,
            "removed": text("paths of the blocks, or none"),
            "blocks": count("how many"),
            "judged_share": Column("float", "share of hits on 2,000 training images", 0),
            "params": PARAMS,
            "macs": MACS,
            "test_images": _TRIED,
            "test_correct": _CORRECT,
        },
    ),
    "reconstruction_errors": Table(
        "how far the factors of one layer are from its trained filters",
        ("seed", "factors", "share", "layer"),
        {
            "seed": _SEED,
            "factors": text("svd or tucker"),
            "share": Column("float", "share of the layer's multiply-adds that is kept", 0),
            "layer": text("path of the layer"),
            "weight_error": Column("float", "norm of the difference over that of the filters", 0),
            "output_error_before": Column(
                "float", "the same of the layer's outputs, both with the base's inputs", 0
            ),
            "output_error_normalised": Column(
                "float", "the same behind the normalisation", 0, optional=True
            ),
            "output_error_after_relu": Column(
                "float", "the same behind normalisation and ReLU", 0, optional=True
            ),
            "network_error": Column(
                "float", "the same of the outputs where all layers are factorised", 0
            ),
        },
    ),
    "layer_sensitivities": Table(
        "the base with one layer of few bits, not trained on",
        ("seed", "bits", "layer"),
        {
            "seed": _SEED,
            "bits": count("bits of the layer's weights"),
            "layer": text("path of the layer"),
            "weights": count("weights of the layer"),
            "score": Column("float", "share of hits on 2,000 training images", 0),
            "lost": Column("float", "share lost against the base; below 0 where it gained"),
        },
    ),
    "format_accuracies": Table(
        "the base in another format of numbers, weights and arithmetic",
        ("seed", "format"),
        {
            "seed": _SEED,
            "format": text("float64, float32, bfloat16 or float16"),
            "file_bytes": count("bytes of the weights in this format"),
            "test_images": _TRIED,
            "test_correct": _CORRECT,
            "same": count("test images that get the class that float32 gives them"),
        },
    ),
    "format_times": Table(
        "one repetition of the base in a format of numbers, all formats in turns",
        ("format", "batch", "threads", "repetition"),
        {
            "format": text("float64, float32, bfloat16 or float16"),
            "batch": _BATCH,
            "threads": _THREADS,
            "input_px": _INPUT,
            "repetition": _REPETITION,
            "calls": _CALLS,
            "seconds": _SECONDS,
            "stable": _STABLE,
        },
    ),
    "sparse_weight_times": Table(
        "one repetition of a 3 x 3 convolution whose weights are stored in one way, all in turns",
        ("channels", "map_px", "sparsity", "batch", "execution", "repetition"),
        {
            "channels": count("channels of input and output"),
            "map_px": count("side of the square map"),
            "sparsity": Column("float", "share of the weights that are zero", 0),
            "batch": _BATCH,
            "execution": text("how the weights are stored and multiplied"),
            "threads": _THREADS,
            "repetition": _REPETITION,
            "calls": _CALLS,
            "seconds": _SECONDS,
            "stable": _STABLE,
        },
    ),
    "skippable_products": Table(
        "multiply-adds of the base with a zero of ReLU as their input",
        ("seed",),
        {
            "seed": _SEED,
            "images": count("training images that were looked at"),
            "macs": count("multiply-adds of all these images"),
            "skippable": count("those with a zero input, padding not counted"),
        },
    ),
    "searched_nets": Table(
        "one net of the space of a search, trained briefly",
        ("kind", "width", "blocks", "seed"),
        {
            "kind": text("kind of the blocks: plain, separable or shuffle"),
            "width": count("filters of the first stage; the others have two and four times that"),
            "blocks": count("blocks of each stage"),
            "seed": _SEED,
            "params": PARAMS,
            "macs": MACS,
            "train_images": count("training images"),
            "train_s": Column("float", "seconds of training", 0),
            "held_out_images": count("training images that only the search is judged on"),
            "held_out_correct": count("of these named rightly"),
            "test_images": _TRIED,
            "test_correct": _CORRECT,
            "status": text("trained or diverged"),
        },
    ),
    "searched_times": Table(
        "one repetition of a net of the space in ONNX Runtime, float32, all in turns",
        ("kind", "width", "blocks", "batch", "threads", "repetition"),
        {
            "kind": text("kind of the blocks: plain, separable or shuffle"),
            "width": count("filters of the first stage"),
            "blocks": count("blocks of each stage"),
            "batch": _BATCH,
            "threads": _THREADS,
            "repetition": _REPETITION,
            "calls": _CALLS,
            "seconds": _SECONDS,
            "stable": _STABLE,
        },
    ),
    "search_trials": Table(
        "the best net that one search has found after so many trials, looked up in searched_nets",
        ("limit_share", "strategy", "repeat", "trials"),
        {
            "limit_share": Column("float", "time that a net may take, over the slowest one's", 0),
            "strategy": text("how the next net is chosen"),
            "repeat": count("number of the search; equal numbers see the same seed"),
            "trials": count("nets that the search has had trained"),
            "gap": Column(
                "float", "test accuracy of the best net within the limit less that of the one "
                "found, by seeds that the search has not seen (shares)"
            ),
        },
    ),
}  # fmt: skip
