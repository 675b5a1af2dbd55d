"""Tables of notebook 02: training steps phase by phase, epochs, layers, peaks, batch sizes."""

from convcost.records.schema import MACS, NET, Column, Table, count, text

_LOOP = text("name of the training loop, as in `training.LOOPS`")
_INPUT_PX = count("side of the square input")
_CHANNELS = count("channels of the input")
_BATCH_ASKED = count("images in one step, as asked for")
_BATCH = count("images in one step, as used: less than asked for where memory did not suffice")
_WORKERS = count("worker processes of the data loader; 0: the loop loads its own batches")
_THREADS = count("threads of the arithmetic")
_REPETITION = count("number of the repetition, from 0")
_IMAGES = count("images that went through in this row")
_OP = text("type of the operator, as `convcost.count` names it")
_BYTES = count("bytes, each input and weight read once and each output written once")
_LOOP_KEY = ("net", "loop", "input_px", "in_channels", "batch_asked", "workers", "threads")


def _seconds(meaning: str, optional: bool = False) -> Column:
    return Column("float", f"wall-clock seconds {meaning}", 0, optional)


def _number(meaning: str) -> Column:
    return Column("float", meaning, 0, optional=True)


_MEMORY_PEAK = count(
    "bytes of the GPU's memory that the process held at most; empty on a CPU", True
)

_LOOP_COLUMNS = {
    "net": NET,
    "loop": _LOOP,
    "input_px": _INPUT_PX,
    "in_channels": _CHANNELS,
    "batch_asked": _BATCH_ASKED,
    "workers": _WORKERS,
    "threads": _THREADS,
}
_PHASES = {
    "pipeline_s": _seconds("until the batch was there, resized, scaled and on the device"),
    "forward_s": _seconds("of the forward pass and the loss"),
    "backward_s": _seconds("of the backward pass; empty in validation", optional=True),
    "optimiser_s": _seconds(
        "of clearing gradients and changing weights; empty in validation", True
    ),
}

TABLES: dict[str, Table] = {
    "loop_runs": Table(
        "one net under one training loop, in a process of its own",
        _LOOP_KEY,
        _LOOP_COLUMNS
        | {
            "batch": count("images in one step, as used; empty where no step was done", True),
            "status": text("done, out of memory, failed or timed out"),
            "reason": text("why, of any other status than done", optional=True),
            "setup_s": Column(
                "float", "wall-clock seconds from the start to the first step done", 0, True
            ),
            "seconds": _seconds("of the whole run", optional=True),
            "memory_peak_bytes": _MEMORY_PEAK,
            "others_load": _number("processor cores that other processes kept busy, on average"),
            "clock_mhz": _number("median clock of the processor, or of the GPU, while it ran"),
            "temperature_c": _number("of the GPU at the end, degrees Celsius"),
            "energy_j": _number("of the GPU over the timed steps, by its own counter, joules"),
            "throttled": text("what slowed the GPU down, by its driver", optional=True),
            "stable": Column("bool", "whether load and drift stayed below their limits"),
            "instability": text("what did not, where unstable", optional=True),
        },
    ),
    "training_steps": Table(
        "one step of a training loop, or of its validation, with its phases",
        (*_LOOP_KEY, "part", "step"),
        _LOOP_COLUMNS
        | {
            "batch": _BATCH,
            "part": text("training or validation"),
            "step": count("number of the step within its part, from 0"),
            "warmup": Column("bool", "true for the first steps, which the statistics leave out"),
            "images": _IMAGES,
            **_PHASES,
            "step_s": _seconds("of the step as a whole, all phases and what lies between them"),
        },
    ),
    "full_epochs": Table(
        "one epoch run from its first image to its last, validation included",
        (*_LOOP_KEY, "epoch"),
        _LOOP_COLUMNS
        | {
            "batch": _BATCH,
            "epoch": count("number of the epoch, from 1"),
            "train_images": count("images trained on"),
            **_PHASES,
            "train_s": _seconds("of the training part of the epoch"),
            "train_correct": count("of these, named rightly before the step they were part of"),
            "test_images": count("images validated on"),
            "validation_s": _seconds("of the validation, its data pipeline included"),
            "test_correct": count("of these, named rightly"),
            "memory_peak_bytes": _MEMORY_PEAK,
        },
    ),
    "fashion_accuracies": Table(
        "one net trained on a part of FashionMNIST, for its accuracy, not for its time",
        ("net", "seed"),
        {
            "net": NET,
            "seed": count("what initialisation and order of the images were drawn from"),
            "input_px": _INPUT_PX,
            "train_images": count("images trained on"),
            "epochs": count("epochs that were finished"),
            "status": text("trained or diverged"),
            "test_images": count("images of the test split"),
            "test_correct": count("of these, named rightly"),
        },
    ),
    "pipeline_times": Table(
        "a data pipeline alone, no net: some batches, made once",
        ("pipeline", "input_px", "in_channels", "batch", "workers", "repetition"),
        {
            "pipeline": text("loader (PIL resize in a DataLoader), resident, or device"),
            "input_px": _INPUT_PX,
            "in_channels": _CHANNELS,
            "batch": count("images in one batch"),
            "workers": _WORKERS,
            "repetition": _REPETITION,
            "images": _IMAGES,
            "seconds": _seconds(
                "from the first batch being asked for after the start of the "
                "workers to the last one being there"
            ),
        },
    ),
    "machine_peaks": Table(
        "a matrix product, a convolution or a copy on this machine, timed once",
        ("what", "dtype", "threads", "size", "repetition"),
        {
            "what": text(
                "matrix product (n x n times n x n), convolution (n channels) or copy (n)"
            ),
            "dtype": text("float32 or bfloat16"),
            "threads": _THREADS,
            "size": count("n"),
            "repetition": _REPETITION,
            "calls": count("calls in this repetition"),
            "flops": count("floating-point operations of all these calls, 2 per multiply-add"),
            "bytes": count("bytes read and written by all these calls, each element once"),
            "seconds": _seconds("of all these calls"),
        },
    ),
    "layer_costs": Table(
        "one layer of one net in inference, timed once; layer (net) is the whole pass",
        ("net", "input_px", "batch", "threads", "layer", "repetition"),
        {
            "net": NET,
            "input_px": _INPUT_PX,
            "batch": _BATCH,
            "threads": _THREADS,
            "position": count("place in the forward pass, from 0"),
            "layer": text("dotted path of the layer; (net) for the whole net in one piece"),
            "op": _OP,
            "macs": count("multiply-adds of this layer for all images of the row"),
            "bytes": _BYTES,
            "repetition": _REPETITION,
            "images": _IMAGES,
            "seconds": _seconds("in this layer, over all images of the row"),
        },
    ),
    "operator_times": Table(
        "one kind of operator in one profiled training step; (step) is the whole step",
        ("net", "loop", "input_px", "batch", "threads", "repetition", "operator"),
        {
            "net": NET,
            "loop": _LOOP,
            "input_px": _INPUT_PX,
            "batch": _BATCH,
            "threads": _THREADS,
            "repetition": _REPETITION,
            "operator": text("torch's name of the operator; (step) for the step as a whole"),
            "group": text(
                "conv, linear, norm, activation, pool, concat, elementwise, optimiser, "
                "other; (step)"
            ),
            "calls": count("calls in this step"),
            "seconds": _seconds("inside this operator, what it calls left out"),
        },
    ),
    "net_costs": Table(
        "what one image costs in one net, counted; nothing is measured",
        ("net", "input_px", "in_channels"),
        {
            "net": NET,
            "input_px": _INPUT_PX,
            "in_channels": _CHANNELS,
            "macs": MACS,
            "backward_flops": count(
                "floating-point operations of the backward pass, 2 per "
                "multiply-add, without the gradient of the image"
            ),
            "bytes": _BYTES,
            "acts": count("output elements of the layers with multiply-adds"),
            "params": count("trainable and other parameters"),
            "calls": count("operator calls of one forward pass"),
        },
    ),
    "batch_times": Table(
        "one net at one batch size, timed once",
        ("net", "what", "input_px", "batch", "threads", "repetition"),
        {
            "net": NET,
            "family": text("resnet, vgg, densenet, regnet_y, …: nets of one design"),
            "what": text("inference or training_step"),
            "input_px": _INPUT_PX,
            "batch": _BATCH,
            "threads": _THREADS,
            "repetition": _REPETITION,
            "macs": MACS,
            "acts": count("output elements, per image, of the layers with multiply-adds"),
            "calls": count("passes or steps in this repetition"),
            "seconds": _seconds("of all these passes or steps"),
            "stable": Column("bool", "whether load and drift stayed below their limits"),
        },
    ),
    "predicted_steps": Table(
        "one step on another machine, predicted from counts and that machine's cited peaks",
        ("device", "net", "input_px", "in_channels", "batch", "part"),
        {
            "device": text("name of the machine in `predict.devices`"),
            "net": NET,
            "input_px": _INPUT_PX,
            "in_channels": _CHANNELS,
            "batch": count("images in one step"),
            "part": text("training or validation"),
            "flops": count("floating-point operations of the step, 2 per multiply-add"),
            "bytes": _BYTES,
            "calls": count("operator calls of the step, backward and optimiser included"),
            "busy_s": _seconds("of the arithmetic units, each call at the lower of two roofs"),
            "compute_s": _seconds("of this, in calls that the peak of arithmetic limits"),
            "memory_s": _seconds("of this, in calls that the memory's bandwidth limits"),
        },
    ),
}
