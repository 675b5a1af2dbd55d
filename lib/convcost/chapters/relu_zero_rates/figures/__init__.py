"""Figures of notebook 03: which tables each takes, and what it shows, in words."""

from functools import partial

from convcost import records
from convcost.chapters.relu_zero_rates.figures import (
    layer_times,
    lenet,
    pruning,
    sparsity,
    zero_rates,
)
from convcost.figures.spec import FigureSpec

_NOTEBOOK = "03-relu-zero-rates"


def pick_a_digit(run: records.Run) -> str:
    """`lenet.pick_a_digit` of this run's own maps: HTML for a notebook to display."""
    return lenet.pick_a_digit(records.Results(run.where, run.machine).table("activation_maps"))


OFFERED = {"pick_a_digit": pick_a_digit}  # as `convcost.figures.pick_a_digit`, too


def _by_filter(layer: str) -> FigureSpec:
    return FigureSpec(
        partial(zero_rates.by_filter, layer=layer),
        ("filter_zero_rates",),
        _NOTEBOOK,
        f"Share of zeros of each filter of {layer} against the digit in the image, for one net, "
        "with their mean and the line of 50 %; beside it the filters of all nets, ranked within "
        "each net, with median and spread.",
    )


SPECS: dict[str, FigureSpec] = {
    "03-lenet-structure": FigureSpec(
        lenet.structure,
        (),
        _NOTEBOOK,
        "LeNet as the paper describes it: an image of 28 by 28, two convolutions with a pooling "
        "after each, three linear layers; under each layer with weights its multiplications, most "
        "of them in conv2 and conv1.",
    ),
    "03-zero-rate-conv2": _by_filter("conv2"),
    "03-zero-rate-conv1": _by_filter("conv1"),
    "03-zero-rate-map": FigureSpec(
        zero_rates.heat_map,
        ("filter_zero_rates",),
        _NOTEBOOK,
        "Two heat maps of one net, conv1 and conv2: a row a filter, sorted, a column a digit, the "
        "share of zeros as colour and as a number in percent.",
    ),
    "03-zero-rate-seeds": FigureSpec(
        zero_rates.over_seeds,
        ("layer_zero_rates", "filter_zero_rates"),
        _NOTEBOOK,
        "For each of four layers and conv1's second-highest filter: the zero rates of many nets "
        "that differ in the seed alone, with the paper's value and the percentile it falls on.",
    ),
    "03-zero-rate-recipes": FigureSpec(
        zero_rates.by_recipe,
        ("layer_zero_rates",),
        _NOTEBOOK,
        "Zero rates of the four layers for each initialisation and normalisation, and for other "
        "ways of training: median and spread over seeds, with the paper's value as a line.",
    ),
    "03-digit-maps": FigureSpec(
        lenet.digit_maps,
        ("activation_maps",),
        _NOTEBOOK,
        "One image of each digit and its six conv1 maps after ReLU, exact zeros in a colour of "
        "their own, the share of zeros under each map: where the image is dark, a filter's map is "
        "either all zero or nowhere zero.",
    ),
    "03-dark-pixels": FigureSpec(
        zero_rates.dark_pixels,
        ("filter_zero_rates", "dark_pixels"),
        _NOTEBOOK,
        "Share of dark pixels of each digit in several preparations, with the paper's values for "
        "the digit 1 and for all; beside it, how far each digit's zero rates lie from the mean "
        "over the digits against its share of dark pixels.",
    ),
    "03-layer-times": FigureSpec(
        layer_times.layer_times,
        ("layer_times",),
        _NOTEBOOK,
        "Time of one image in each layer of LeNet, one by one and in batches of 64, beside the "
        "paper's Table I; and the same times against the layers' multiplications, exact and by "
        "the paper's equation.",
    ),
    "03-cold-start": FigureSpec(
        layer_times.cold_start,
        ("cold_layer_times",),
        _NOTEBOOK,
        "Time of each layer's first call in fresh processes and of its later calls; and the "
        "paper's Table I beside our averages with the first call in them and without.",
    ),
    "03-pruning-accuracy": FigureSpec(
        pruning.accuracy,
        ("pruned_nets",),
        _NOTEBOOK,
        "Accuracy against the number of filters removed from conv1 and from conv2, as cut and "
        "after fine-tuning, for filters of the highest zero rate, of the smallest L1 norm, and "
        "chosen at random: median and spread over nets.",
    ),
    "03-pruning-differences": FigureSpec(
        pruning.differences,
        ("pruned_nets",),
        _NOTEBOOK,
        "Accuracy without the filters of the highest zero rate minus that without random filters, "
        "or without those of the smallest L1 norm, in pairs of the same seed: mean with its 95 % "
        "interval; below zero the highest zero rate is the worse choice.",
    ),
    "03-pruning-savings": FigureSpec(
        pruning.savings,
        ("pruned_nets", "pruned_times"),
        _NOTEBOOK,
        "Share of multiplications saved, and share of time saved as measured, against the filters "
        "removed from conv1 and from conv2, with the two percentages that the paper expects of "
        "two filters of conv1.",
    ),
    "03-net-zero-rates": FigureSpec(
        sparsity.net_zero_rates,
        ("net_zero_rates", "skippable_macs"),
        _NOTEBOOK,
        "Share of zeros after each ReLU of the trained nets, in forward order, with the share over "
        "all elements; for AlexNet the range that the post gives as a band.",
    ),
    "03-sparse-speed-up": FigureSpec(
        sparsity.sparse_speed_up,
        ("sparse_sweep", "sparse_layers"),
        _NOTEBOOK,
        "Speed-up of methods that skip zeros over the dense product against the share of zeros, "
        "for several shapes, with the ideal and the share from which each method pays; beside it "
        "the layers of trained nets, ideal against real.",
    ),
}
