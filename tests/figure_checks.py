"""What every figure has to keep: nothing outside, nothing on top of something else."""

from itertools import combinations


def overlap(one, other) -> bool:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return width > 2 and height > 2  # pixels; boxes have an edge of their own


def tick_labels(axis) -> list:
    """Labels of an x or y axis that are seen."""
    low, high = sorted(axis.get_view_interval())
    return [
        tick.label1
        for tick in axis.get_major_ticks()
        if low <= tick.get_loc() <= high and tick.label1.get_visible() and tick.label1.get_text()
    ]


def is_inside(figure) -> bool:
    """Whether nothing lies outside of the picture."""
    needed, size = figure.get_tightbbox(), figure.get_size_inches()
    low = needed.x0 > -0.05 and needed.y0 > -0.05
    return low and needed.x1 < size[0] + 0.05 and needed.y1 < size[1] + 0.05


def colliding_parts(figure) -> list:
    """Pairs of panels (with their labels), legends and texts of the figure that overlap."""
    renderer = figure.canvas.get_renderer()
    boxes = [axis.get_tightbbox(renderer) for axis in figure.axes]
    boxes += [legend.get_window_extent(renderer) for legend in figure.legends]
    boxes += [text.get_window_extent(renderer) for text in figure.texts]
    return [pair for pair in combinations(boxes, 2) if overlap(*pair)]


def colliding_words(figure, texts: bool = True) -> list[tuple[str, str]]:
    """Pairs of tick labels of one axis that overlap; with `texts` of texts in one panel too."""
    renderer = figure.canvas.get_renderer()
    found = []
    for axis in figure.axes:
        groups = [tick_labels(axis.xaxis), tick_labels(axis.yaxis)]
        if texts:
            groups.append([text for text in axis.texts if text.get_text()])
        for group in groups:
            boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in group]
            found += [
                (word, other)
                for (word, one), (other, two) in combinations(boxes, 2)
                if overlap(one, two)
            ]
    return found
