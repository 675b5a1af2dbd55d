"""Figures of notebook 02: which tables each takes, and what it shows, in words."""

from convcost.chapters.training_time.figures import hypotheses, loops, relation, roofline
from convcost.figures.spec import FigureSpec

_NOTEBOOK = "02-training-time"

SPECS: dict[str, FigureSpec] = {
    "02-table2-figure1": FigureSpec(
        loops.table2_figure1,
        ("training_steps", "full_epochs", "net_costs", "fashion_accuracies", "loop_runs"),
        _NOTEBOOK,
        "The paper's Figure 1 redrawn: for AlexNet, VGG16, GoogLeNet, ResNet18 and DenseNet bars "
        "of the FLOPs it prints beside bars of its running times; below them our exact FLOPs and "
        "the time of our epoch, hatched where extrapolated, marked where not stable; at the side "
        "the ratios to AlexNet of FLOPs and of time, the paper's and ours.",
    ),
    "02-time-against-flops": FigureSpec(
        relation.time_against_flops,
        ("training_steps", "net_costs"),
        _NOTEBOOK,
        "Time of a training image against its FLOPs on logarithmic axes, a line a net over the "
        "input sizes, the tuned loop hollow, with lines of equal FLOPs per second; beside it the "
        "paper's five running times against its FLOPs, nearly level while the FLOPs grow twenty "
        "times.",
    ),
    "02-where-the-time-goes": FigureSpec(
        roofline.where_the_time_goes,
        ("operator_times", "training_steps", "machine_peaks", "net_costs"),
        _NOTEBOOK,
        "A stacked bar a net: which shares of a training step are convolutions and linear "
        "layers at this machine's measured peak, their time beyond that, layers without FLOPs, the "
        "optimiser, the data pipeline and the rest; beside it the same parts per GFLOP, which "
        "would be bars of one length if time were linear in FLOPs.",
        by_device=True,
    ),
    "02-roofline": FigureSpec(
        roofline.roofline,
        ("layer_costs", "machine_peaks"),
        _NOTEBOOK,
        "Achieved FLOPs per second of each layer against its FLOPs per byte on logarithmic axes, "
        "under the roofs of a measured copy and of the fastest product or convolution, a point a "
        "layer, area the share of its net's time; beside it the share of the time in layers "
        "without FLOPs, net by net.",
    ),
    "02-protocol-distance": FigureSpec(
        hypotheses.protocol_distance,
        ("training_steps", "pipeline_times", "predicted_steps", "net_costs"),
        _NOTEBOOK,
        "Distance to the paper's five times of the nearest hypothesis for each set of nets and "
        "input size, measured on this machine and predicted for the paper's GPU, with lines for "
        "rules such as equal times or times proportional to FLOPs; beside it the times relative "
        "to AlexNet, the paper's and those of the nearest hypotheses.",
    ),
    "02-batch-and-family": FigureSpec(
        relation.batch_and_family,
        ("batch_times",),
        _NOTEBOOK,
        "Time of an image against FLOPs for nets of several families at the smallest and the "
        "largest batch; below, over the batch size, Pearson's correlation of time and FLOPs over "
        "all nets and within families, and the highest over the lowest time per FLOP.",
    ),
    "02-tuned-against-plain": FigureSpec(
        loops.tuned_against_plain,
        ("training_steps", "loop_runs"),
        _NOTEBOOK,
        "For each net, and for all five together, bars of the time of an epoch under the plain "
        "training loop and under loops that each add one thing to it, with the speed-up over the "
        "plain one; failed and unstable cases are marked.",
    ),
}
