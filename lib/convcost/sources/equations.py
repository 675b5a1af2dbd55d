"""The sources' own equations, as they stand in the papers: pure integers.

Our own formulas are in `counting.ops`; these are kept apart because some of them leave something
out, and that is what the compendium is about. Names of arguments follow each paper.
"""

from collections.abc import Iterable


def cheng_fully_connected(c_in: int, c_out: int) -> int:
    """MACs of a fully connected layer. Cheng & Liu 2025, eq. (1), restored from its legend.

    >>> cheng_fully_connected(120, 84) == 120 * 84
    True
    """
    return c_in * c_out


def cheng_convolution(k: int, c_in: int, c_out: int, w: int, h: int) -> int:
    """MACs of a convolution; `w`, `h` of the output map. Cheng & Liu 2025, eq. (2), restored.

    >>> cheng_convolution(3, 64, 128, 112, 112) == 3 * 3 * 64 * 128 * 112 * 112
    True
    """
    return k * k * c_in * c_out * w * h


def cheng_group_convolution(k: int, c_in: int, c_out: int, w: int, h: int, g: int) -> int:
    """MACs of a convolution in `g` groups. Cheng & Liu 2025, eq. (3), restored.

    Each of `g` groups maps c_in / g channels to c_out / g. Raises ValueError where `g` does not
    divide both.

    >>> cheng_group_convolution(3, 8, 4, 5, 5, 2) == 2 * (3 * 3 * 4 * 2 * 5 * 5)
    True
    """
    if c_in % g or c_out % g:
        raise ValueError(f"{g} groups divide neither {c_in} nor {c_out} channels evenly")
    return g * cheng_convolution(k, c_in // g, c_out // g, w, h)


def cheng_separable_convolution(k: int, c_in: int, c_out: int, w: int, h: int) -> int:
    """MACs of a depthwise-separable convolution. Cheng & Liu 2025, eq. (4), restored.

    >>> cheng_separable_convolution(3, 2, 5, 4, 4) == 3 * 3 * 2 * 4 * 4 + 2 * 5 * 4 * 4
    True
    """
    return separable_depthwise(k, c_in, w, h) + separable_pointwise(c_in, c_out, w, h)


def separable_depthwise(k: int, c_in: int, w: int, h: int) -> int:
    """MACs of the depthwise half: one k × k filter a channel. Geifman, separable example.

    >>> separable_depthwise(3, 64, 112, 112) == 3 * 3 * 64 * 112 * 112
    True
    """
    return k * k * c_in * w * h


def separable_pointwise(c_in: int, c_out: int, w: int, h: int) -> int:
    """MACs of the pointwise half: a 1 × 1 convolution. Geifman, separable example.

    >>> separable_pointwise(64, 128, 112, 112) == 64 * 112 * 112 * 128
    True
    """
    return c_in * c_out * w * h


def atsumi_convolution(w: int, h: int, k: int, f: int) -> int:
    """Multiplications of a convolution by Atsumi et al. 2020, eq. (1): W × H × K² × F.

    The number of input maps does not appear, so the result is exact for one input map only.

    >>> atsumi_convolution(24, 24, 5, 6) == 24 * 24 * 5 * 5 * 6
    True
    """
    return w * h * k * k * f


def atsumi_fully_connected(pcn: int, cn: int) -> int:
    """Multiplications of a fully connected layer by Atsumi et al. 2020, eq. (2): PCN × CN.

    >>> atsumi_fully_connected(16 * 4 * 4, 120) == 16 * 4 * 4 * 120
    True
    """
    return pcn * cn


def ke_sum(layers: Iterable[tuple[int, int, int, int]]) -> int:
    """The sum in eq. (1) of Ke, Cao & Lv: f[i-1] × k² × f[i] × s² over the convolutions.

    Each layer is (maps in, kernel, filters, side of the output map). Fully connected layers have
    no part in it.

    >>> ke_sum([(3, 5, 64, 64)]) == 3 * 5 * 5 * 64 * 64 * 64
    True
    """
    return sum(f_in * k * k * f * s * s for f_in, k, f, s in layers)


def bert_parameters(
    layers: int, width: int, inner: int, words: int = 30_522, positions: int = 512
) -> int:
    """Parameters of a BERT encoder with two segments and a pooler, biases included.

    Derived from the architecture of Devlin et al. 2019 (words, positions and segments embedded,
    normalised; per layer four width x width projections, two inner ones, two norms; one pooler).

    >>> bert_parameters(12, 768, 3072)
    109482240
    """
    norm = 2 * width
    embeddings = (words + positions + 2) * width + norm
    attention = 4 * (width * width + width)
    inner_layers = (width * inner + inner) + (inner * width + width)
    return embeddings + layers * (attention + inner_layers + 2 * norm) + width * width + width
