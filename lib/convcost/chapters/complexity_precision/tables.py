"""Tables of notebook 04: the faces, nets of one family trained and timed, and the chosen ones."""

from convcost.records.schema import MACS, PARAMS, Column, Table, count, text

TRAININGS, TIMES, CHOSEN = "configuration_trainings", "forward_times", "chosen_optima"
REPEATED = "repeated_trainings"
CONFIGURATION = ("filters", "input_px", "kernel_px", "layers")
_CONFIGURATION = {
    "filters": count("filters of each convolution: f"),
    "input_px": count("side of the square input: s"),
    "kernel_px": count("side of the square kernels: k"),
    "layers": count("convolution layers: l"),
}
_SEED = count("what initialisation and order of the images were drawn from")


def _seconds(meaning: str, optional: bool = False) -> Column:
    return Column("float", f"wall-clock seconds {meaning}", 0, optional)


def _counts(split: str) -> dict[str, Column]:
    """What the net said of a split, by true class: enough for every measure of precision.

    Class 0 and class 1 are the set's own, in its order: female and male for LFW gender.
    """
    return {
        f"{split}_class{number}_{what}": count(
            f"{split} images of class {number}" + (", named rightly" * (what == "correct")),
            optional=True,
        )
        for number in (0, 1)
        for what in ("images", "correct")
    }


_TRAINING = {
    "status": text("done, diverged, failed or timed out"),
    "reason": text("why, of any other status than done", optional=True),
    "train_images": count("images trained on", optional=True),
    "epochs": count("epochs of the recipe", optional=True),
    **_counts("validation"),
    **_counts("test"),
    "train_s": _seconds("of the training, without the trials on held-out images", optional=True),
}

TABLES: dict[str, Table] = {
    "face_splits": Table(
        "the images of one class in one split; a person of LFW is in one split only",
        ("split", "label"),
        {
            "split": text("train, validation or test"),
            "label": text("the class, in the data set's own word"),
            "images": count("images"),
            "people": count("people, by name; empty where the set has none", optional=True),
        },
    ),
    "recipe_trials": Table(
        "the baseline trained by one recipe, for the choice of the recipe on the validation split",
        ("recipe", "seed"),
        {
            "recipe": text("what the recipe does, in words"),
            "seed": _SEED,
            "optimiser": text("adam or sgd"),
            "lr": Column("float", "highest learning rate", 0),
            "batch_size": count("images in one step"),
            "chosen": Column("bool", "whether this is the recipe of all other trainings"),
            **{name: _TRAINING[name] for name in ("status", "reason", "train_images", "epochs")},
            **_counts("validation"),
            "train_s": _TRAINING["train_s"],
        },
    ),
    "configuration_costs": Table(
        "what one image costs in one configuration, counted; nothing is measured",
        CONFIGURATION,
        _CONFIGURATION
        | {
            "conv_macs": count("the sum of eq. (1): multiply-adds of the convolutions"),
            "macs": MACS,
            "acts": count("output elements of the convolutions and of the linear layer"),
            "params": PARAMS,
        },
    ),
    TRAININGS: Table(
        "one configuration trained once, and what it said of the held-out people",
        (*CONFIGURATION, "seed"),
        _CONFIGURATION
        | {
            "seed": _SEED,
            "role": text("1-D, 2-D, held out (in no fit) or optimum (chosen by a model)"),
            **_TRAINING,
        },
    ),
    REPEATED: Table(
        "one configuration trained once more, from a seed that no fit has seen",
        (*CONFIGURATION, "seed"),
        _CONFIGURATION
        | {
            "seed": _SEED,
            "role": text("baseline, held out or optimum (chosen by a model)"),
            **_TRAINING,
        },
    ),
    TIMES: Table(
        "the forward pass of one configuration, timed once: one batch of images",
        ("session", *CONFIGURATION, "repetition"),
        {
            "session": text(
                "plan or optima: nets timed in turns, to be compared within a session, through "
                "the baseline across"
            ),
            **_CONFIGURATION,
            "batch": count("images in one pass"),
            "threads": count("threads of the arithmetic"),
            "repetition": count("number of the repetition, from 0"),
            "seconds": _seconds("of one pass"),
            "stable": Column("bool", "whether drift and load of others stayed below their limits"),
        },
    ),
    CHOSEN: Table(
        "the cheapest configuration that a model says is precise enough",
        ("drop_points", "model", "grid"),
        {
            "drop_points": Column("float", "percentage points given up from the baseline", 0),
            "target_accuracy": Column("float", "the accuracy asked for: P_T", 0),
            "model": text("name of the model of precision"),
            "grid": text("shares (0.05 to 1 of the baseline) or integers"),
            "status": text("found, or none: no configuration of the grid is precise enough"),
            **{
                name: count(column.meaning, optional=True)
                for name, column in _CONFIGURATION.items()
            },
            "predicted_accuracy": Column("float", "by the model", None, True),
            "predicted_complexity": Column("float", "forward time, baseline 1", None, True),
        },
    ),
}
