"""Tables of notebook 03: zeros after ReLU, time per layer, nets with fewer filters."""

from convcost.records.schema import MACS, NET, Column, Table, count, text

_SEED = count("what initialisation and order of the images were drawn from")
_RECIPE = {
    "training": text("optimiser, highest rate, schedule, batch size and epochs"),
    "initialisation": text("initialisation of the weights, as in `training.Recipe`"),
    "normalisation": text("normalisation of the images, as in `training.Recipe`"),
}
_DIGIT = count("class of the images")
_OUTPUTS = {
    "zeros": count("outputs that are exactly zero after ReLU, all images together"),
    "total": count("outputs, all images together"),
}
_TRIED = {
    "test_images": count("images of the test split that were tried"),
    "test_correct": count("test images named rightly"),
}
_STATUS = text("trained or diverged")
_REPETITION = count("number of the repetition, from 0")
_LAYER = text("dotted path of the layer; (net) for the whole net in one piece")
_POSITION = count("place in the forward pass, from 0")
_BATCH = count("images in one forward pass")
_THREADS = count("threads of the arithmetic")


def _seconds(meaning: str, optional: bool = False) -> Column:
    return Column("float", f"wall-clock seconds {meaning}", 0, optional)


def _share(meaning: str, optional: bool = False) -> Column:
    return Column("float", f"{meaning}, 0 to 1", 0, optional)


_WEIGHTED = count("place among the net's convolutions and linear layers, from 0")
_METHOD = text("dense, or how zeros are skipped, as in `convcost.measuring.sparse`")
_CALLS = {
    "repetition": _REPETITION,
    "calls": count("calls in this repetition"),
    "seconds": _seconds("of all these calls, conversion to sparse included"),
}

TABLES: dict[str, Table] = {
    "lenet_trainings": Table(
        "one LeNet trained from one seed; the first rows are those of the first recipe",
        ("training", "initialisation", "normalisation", "seed"),
        {
            **_RECIPE,
            "seed": _SEED,
            "status": _STATUS,
            "epochs": count("epochs that were finished"),
            "train_images": count("images of the training split"),
            **_TRIED,
            "seconds": _seconds("of the training"),
        },
    ),
    "layer_zero_rates": Table(
        "one layer of one LeNet, over the images of one digit; the first recipe comes first",
        ("training", "initialisation", "normalisation", "seed", "layer", "digit"),
        {
            **_RECIPE,
            "seed": _SEED,
            "layer": text("the paper's name of the layer whose outputs ReLU gets"),
            "digit": _DIGIT,
            **_OUTPUTS,
        },
    ),
    "zero_rates_by_epoch": Table(
        "one LeNet behind one of its epochs, over the images that the paper's rates are of",
        ("training", "initialisation", "normalisation", "seed"),
        {
            **_RECIPE,
            "seed": _SEED,
            "epoch": count("epochs that it had had"),
            "status": _STATUS,
            "train_images": count("images of the training split"),
            **{
                f"{layer}_{what}": count(f"{meaning} of {layer}")
                for layer in ("conv1", "conv2", "fc120", "fc84")
                for what, meaning in (("zeros", "zeros after ReLU"), ("total", "outputs"))
            },
            "conv1_filters": text("zero rate of each filter of conv1, as JSON, rounded to 1e-6"),
            **_TRIED,
            "without_high_zeros_correct": count(
                "test images named rightly without conv1's two filters of the most zeros",
                optional=True,
            ),
            "without_random_correct": count(
                "the same without two filters of conv1 drawn at random", optional=True
            ),
        },
    ),
    "original_trainings": Table(
        "one LeNet-5 of 1998 trained from one seed on MNIST",
        ("seed",),
        {
            "seed": _SEED,
            "status": _STATUS,
            "epochs": count("epochs that were finished"),
            "train_images": count("images of the training split"),
            "input_px": count("side of the images"),
            **_TRIED,
            "seconds": _seconds("of the training"),
        },
    ),
    "saving_times": Table(
        "one LeNet whole and without two filters of conv1, in turns",
        ("session", "batch", "threads", "repetition"),
        {
            "session": count("number of the session, from 0; batches take turns"),
            "batch": _BATCH,
            "threads": _THREADS,
            "repetition": _REPETITION,
            "whole_s": _seconds("of one image in the whole net"),
            "smaller_s": _seconds("of one image in the smaller one"),
        },
    ),
    "filter_zero_rates": Table(
        "one filter of one LeNet of the first recipe, over the chosen images of one digit",
        ("seed", "layer", "filter", "digit"),
        {
            "seed": _SEED,
            "layer": text("conv1 or conv2"),
            "filter": count("index of the filter, from 0"),
            "digit": _DIGIT,
            **_OUTPUTS,
        },
    ),
    "activation_maps": Table(
        "one filter's output map of one image",
        ("digit", "layer", "filter"),
        {
            "digit": _DIGIT,
            "layer": text("image, conv1 or conv2"),
            "filter": count("index of the filter, from 0"),
            "side_px": count("side of the square map"),
            "zeros": count("elements of the map that are exactly zero"),
            "levels": text(
                "the map after ReLU in base64, a byte an element, row by row: 0 is exactly zero, "
                "1 to 255 go from above zero to the largest value of the layer"
            ),
        },
    ),
    "dark_pixels": Table(
        "the images of one digit, prepared in one way",
        ("preparation", "chosen", "digit"),
        {
            "preparation": text("what was done to the 28 x 28 images"),
            "chosen": text("which test images"),
            "digit": _DIGIT,
            "level": Column("float", "pixels at or below it are dark, of -1 to 1", -1),
            "images": count("images of that digit"),
            "dark": count("pixels at or below the level"),
            "total": count("pixels"),
        },
    ),
    "layer_times": Table(
        "one layer timed over all images of one repetition",
        ("net", "batch", "threads", "layer", "repetition"),
        {
            "net": NET,
            "batch": _BATCH,
            "threads": _THREADS,
            "position": _POSITION,
            "layer": _LAYER,
            "repetition": _REPETITION,
            "images": count("images that went through in this repetition"),
            "seconds": _seconds("of the layer, over all these images"),
        },
    ),
    "cold_layer_times": Table(
        "one layer in one fresh process, image by image",
        ("net", "process", "layer"),
        {
            "net": NET,
            "process": count("number of the process, from 0"),
            "position": _POSITION,
            "layer": _LAYER,
            "first_s": _seconds("of the layer's first call in the process"),
            "later_s": _seconds("of a later call, median"),
            "later_calls": count("later calls"),
        },
    ),
    "pruned_nets": Table(
        "one LeNet without some filters of one layer",
        ("seed", "layer", "criterion", "removed", "fine_tuned"),
        {
            "seed": _SEED,
            "layer": text("the layer that lost filters; none for the whole net"),
            "criterion": text(
                "which filters went: highest zero rate, smallest L1 norm, or random; none for the "
                "whole net; from scratch for a net that was trained small"
            ),
            "removed": count("filters removed"),
            "filters": count("filters the layer had"),
            "fine_tuned": Column("bool", "true where it was trained on afterwards"),
            "removed_zero_fraction": _share("zero rate of the removed filters before", True),
            "layer_macs": count("multiply-adds left in the layer, one image", optional=True),
            "macs": MACS,
            **_TRIED,
        },
    ),
    "pruned_times": Table(
        "a LeNet without some filters of one layer, timed over one repetition",
        ("layer", "removed", "batch", "threads", "repetition"),
        {
            "layer": text("the layer that lost filters; none for the whole net"),
            "removed": count("filters removed"),
            "batch": _BATCH,
            "threads": _THREADS,
            "repetition": _REPETITION,
            "macs": MACS,
            "images": count("images that went through in this repetition"),
            "seconds": _seconds("of the forward passes, over all these images"),
        },
    ),
    "net_trainings": Table(
        "one net trained on FashionMNIST",
        ("net", "seed"),
        {
            "net": NET,
            "seed": _SEED,
            "input_px": count("side of the square input"),
            "train_images": count("images trained on"),
            "epochs": count("epochs that were finished"),
            "status": _STATUS,
            **_TRIED,
            "seconds": _seconds("of the training"),
        },
    ),
    "net_zero_rates": Table(
        "one ReLU of one trained net",
        ("net", "seed", "layer"),
        {
            "net": NET,
            "seed": _SEED,
            "position": count("place among the net's ReLUs, from 0"),
            "layer": text("dotted path of the ReLU's module, with the number of its call"),
            "after": text("dotted path of the convolution or linear layer before it"),
            "images": count("test images that went through"),
            **_OUTPUTS,
        },
    ),
    "alexnet_zero_rates": Table(
        "one ReLU of an AlexNet of a further seed; that of seed 0 is in `net_zero_rates`",
        ("net", "seed", "layer"),
        {
            "net": NET,
            "seed": _SEED,
            "position": count("place among the net's ReLUs, from 0"),
            "layer": text("dotted path of the ReLU's module, with the number of its call"),
            "after": text("dotted path of the convolution or linear layer before it"),
            "images": count("test images that went through"),
            **_OUTPUTS,
        },
    ),
    "skippable_macs": Table(
        "one convolution or linear layer of one trained net",
        ("net", "seed", "layer"),
        {
            "net": NET,
            "seed": _SEED,
            "position": _WEIGHTED,
            "layer": text("dotted path of the layer"),
            "op": text("conv or linear"),
            "images": count("test images that went through"),
            "macs": count("multiply-adds, all images together"),
            "zero_input_macs": count("of these, with an input element that is zero"),
            "padding_macs": count("of these, with a zero of the padding"),
        },
    ),
    "sparse_layers": Table(
        "one layer of a trained net on the inputs that it really gets, timed once",
        ("net", "batch", "threads", "layer", "method", "repetition"),
        {
            "net": NET,
            "batch": _BATCH,
            "threads": _THREADS,
            "position": _WEIGHTED,
            "layer": text("dotted path of the layer"),
            "method": _METHOD,
            "zero_input_share": _share("multiply-adds with a zero input, padding included"),
            **_CALLS,
        },
    ),
    "sparse_sweep": Table(
        "one product of one shape with made inputs of one zero rate, timed once",
        ("case", "threads", "method", "zero_rate", "repetition"),
        {
            "case": text("name of the layer whose shape it has"),
            "rows": count("rows of the input matrix: images, or images times output positions"),
            "inputs": count("columns of the input matrix"),
            "outputs": count("columns of the output"),
            "threads": _THREADS,
            "method": _METHOD,
            "zero_rate": _share("share of the input's elements that are zero"),
            **_CALLS,
        },
    ),
}
