"""The front to play with: accuracy against FLOPs or time, by family and by training data.

One piece of HTML without requests: a picture that stands by itself, and a script that moves its
points. Where scripts are stripped, the picture of FLOPs is what is left.
"""

import html
import json
import math

import pandas as pd

from convcost.chapters.accuracy_and_run_time.figures import known_nets as pictures
from convcost.chapters.accuracy_and_run_time.findings import known_nets as found
from convcost.chapters.accuracy_and_run_time.tables.known import DISTILLED, IN1K, MORE
from convcost.core import units

WIDTH, HEIGHT = 720, 430
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 12, 44
LOWEST, HIGHEST = 0.55, 0.91  # top-1 at the ends of the axis
DATA = {IN1K: "ImageNet-1k alone", DISTILLED: "with a teacher", MORE: "more images"}
OTHERS = "other designs"
_COLOURS = {name: look[1] for name, look in pictures.FAMILIES.items()} | {OTHERS: "#8a8a8a"}

_STYLE = """
.convcost-frontier {font: 14px sans-serif; max-width: %(width)dpx; color: #222;
  background: #fff; border: 1px solid #8884; padding: 8px; border-radius: 4px}
.convcost-frontier fieldset {border: 0; margin: 0 0 4px; padding: 0}
.convcost-frontier label {display: inline-block; margin-right: 10px}
.convcost-frontier svg {width: 100%%; height: auto; display: block}
.convcost-frontier circle:focus {stroke: #000; stroke-width: 2; outline: none}
.convcost-frontier .told {min-height: 2.6em; margin: 4px 0 0}
.convcost-frontier i {display: inline-block; width: 10px; height: 10px; border-radius: 5px;
  margin-right: 4px}
.convcost-frontier text {font: 12px sans-serif; fill: #333}
"""

# The script knows points and axes from the JSON beside it; `q` finds in its own box alone, so that
# two on one page do not disturb each other.
_SCRIPT = """
(function () {
  document.querySelectorAll('.convcost-frontier:not([data-ready])').forEach(function (box) {
    box.setAttribute('data-ready', '1');
    var all = JSON.parse(box.querySelector('script[type="application/json"]').textContent);
    var keys = Object.keys(all.axes);
    all.points = all.points.map(function (p) {
      return {name: p[0], top1: p[1], family: all.families[p[2]], data: p[3], costs: p[4]};
    });
    var q = function (s) { return Array.from(box.querySelectorAll(s)); };
    var dots = q('circle'), line = q('polyline')[0], told = q('.told')[0];
    var axis = q('g.axis')[0], select = q('select')[0];
    q('form')[0].hidden = false;
    function said(value, k) {
      if (k === 0) { return (value / 1e9).toPrecision(3) + ' GFLOPs'; }
      return value < 1e-3 ? (value * 1e6).toFixed(0) + ' µs' :
        value < 1 ? (value * 1e3).toPrecision(3) + ' ms' : value.toPrecision(3) + ' s';
    }
    function where(value, a) {
      return a.x0 + (a.x1 - a.x0) * Math.log(value / a.low) / Math.log(a.high / a.low);
    }
    function draw() {
      var a = all.axes[select.value], key = keys.indexOf(select.value), on = {};
      q('input').forEach(function (i) { on[i.value] = i.checked; });
      var shown = [];
      dots.forEach(function (dot, n) {
        var p = all.points[n], cost = p.costs[key];
        var is = cost !== null && on[p.family] && on[p.data];
        dot.style.display = is ? '' : 'none';
        dot.setAttribute('tabindex', '-1');
        dot.setAttribute('r', 3.2);
        if (is) {
          dot.setAttribute('cx', where(cost, a).toFixed(1));
          shown.push([cost, -p.top1, n]);
        }
      });
      shown.sort(function (s, t) { return s[0] - t[0] || s[1] - t[1]; });
      var best = 0, corners = [];
      shown.forEach(function (s) {
        var p = all.points[s[2]], dot = dots[s[2]];
        if (p.top1 > best) {
          best = p.top1;
          dot.setAttribute('tabindex', '0');
          dot.setAttribute('r', 5);
          corners.push(dot.getAttribute('cx') + ',' + dot.getAttribute('cy'));
        }
      });
      line.setAttribute('points', corners.join(' '));
      axis.innerHTML = a.svg;
      told.textContent = shown.length + ' nets, ' + corners.length +
        ' on the front. Point at one, or walk along the front with the Tab key.';
    }
    function tell(n) {
      var p = all.points[n];
      var words = [p.name, (100 * p.top1).toFixed(1) + ' % top-1'];
      keys.forEach(function (key, k) {
        var short = k ? all.axes[key].short + ' ' : '';
        if (p.costs[k] !== null) { words.push(short + said(p.costs[k], k)); }
      });
      told.textContent = words.join(' · ') + ' (' + p.family + ', ' + all.data[p.data] + ')';
    }
    dots.forEach(function (dot, n) {
      var p = all.points[n];
      dot.setAttribute('aria-label', p.name + ', ' + (100 * p.top1).toFixed(1) + ' %');
      dot.addEventListener('mouseenter', function () { tell(n); });
      dot.addEventListener('focus', function () { tell(n); });
      dot.addEventListener('click', function () { tell(n); });
    });
    box.addEventListener('change', draw);
    draw();
  });
})();
"""


def frontier(
    known_nets: pd.DataFrame,
    published_times: pd.DataFrame,
    known_net_times: pd.DataFrame | None = None,
) -> str:
    """HTML in which a reader picks the axis, families and training data, and sees the front.

    A point is a net at one size with its most accurate weights of each sort of training data; nets
    of less than 55 % top-1 are left out. The points of the front are larger and joined, and can be
    reached from the keyboard; below the picture stands what is known of the one pointed at.
    """
    points, axes = _points(known_nets, published_times, known_net_times), {}
    for key, words, short in (
        (found.FLOPS, "FLOPs of one image", "FLOPs"),
        *((name, f"time of one image: {_words(name)}", _words(name)) for name in _timed(points)),
    ):
        costs = [point["costs"][key] for point in points if point["costs"].get(key)]
        if costs:
            axes[key] = _axis(words, short, min(costs), max(costs), key == found.FLOPS)
    for point in points:
        point["costs"] = {key: point["costs"].get(key) for key in axes}
    families = list(_COLOURS)
    packed = [
        [p["name"], p["top1"], families.index(p["family"]), p["data"], list(p["costs"].values())]
        for p in points
    ]
    told = {"points": packed, "axes": axes, "data": DATA, "families": families}
    first = found.FLOPS
    return (
        f"<style>{_STYLE % {'width': WIDTH}}{_fills()}</style>"
        f'<div class="convcost-frontier">{_choices(axes, points)}'
        f"{_svg(points, axes[first], first)}"
        '<p class="told" aria-live="polite"></p>'
        f'<script type="application/json">{_json(told)}</script></div>'
        f"<script>{_SCRIPT}</script>"
    )


def _fills() -> str:
    return "".join(
        f".convcost-frontier .f{number} {{fill: {_hex(colour)}; fill-opacity: .75}}\n"
        for number, colour in enumerate(_COLOURS.values())
    )


def _words(device: str) -> str:
    return {found.HERE: "this machine, batch 1"}.get(device) or found.DEVICES[device]


def _timed(points: list[dict]) -> list[str]:
    there = {key for point in points for key in point["costs"]}
    return [name for name in (found.HERE, *found.DEVICES) if name in there]


def _points(
    known_nets: pd.DataFrame,
    published_times: pd.DataFrame,
    known_net_times: pd.DataFrame | None,
) -> list[dict]:
    data = tuple(DATA)
    every = found.counted(known_nets, data).sort_values("top1", kind="stable")
    every = every[every["top1"] >= LOWEST]
    every = every.drop_duplicates(["source", "net", "input_px", "data"], keep="last")
    times: dict[tuple, dict] = {}
    table = found.timed(known_nets, published_times, known_net_times, data=data)
    for row in table.itertuples():
        times.setdefault((row.source, row.net, row.input_px), {})[row.device] = row.image_s
    # torchvision's nets are timm's in another coat: they count where they were timed here
    is_timm = every["source"] == "timm"
    keys = list(zip(every["source"], every["net"], every["input_px"], strict=True))
    every = every[is_timm | pd.Series([key in times for key in keys], index=every.index)]
    family = {
        design: name for name, (designs, _, _) in pictures.FAMILIES.items() for design in designs
    }
    found_points = []
    for row in every.sort_values("flops", kind="stable").itertuples():
        costs = {found.FLOPS: row.flops} if row.source == "timm" else {}
        costs |= times.get((row.source, row.net, row.input_px), {})
        found_points.append(
            {
                "name": pictures.name_of(row),
                "top1": round(float(row.top1), 4),
                "family": family.get(row.design, OTHERS),
                "data": row.data,
                "costs": {key: float(f"{cost:.3g}") for key, cost in costs.items()},
            }
        )
    return found_points


def _axis(words: str, short: str, low: float, high: float, flops: bool) -> dict:
    """The ends of a logarithmic axis, and its picture: a mark each power of ten, a title."""
    low, high = low / 1.15, high * 1.15
    first, last = LEFT, WIDTH - RIGHT
    base = HEIGHT - BOTTOM
    marks = []
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        value = 10.0**power
        if low <= value <= high:
            at = first + (last - first) * math.log(value / low) / math.log(high / low)
            name = units.readable(value, 0) if flops else units.seconds(value)
            marks.append(
                f'<path d="M{at:.1f} {TOP}V{base}" stroke="#ddd"/>'
                f'<text x="{at:.1f}" y="{base + 16}" text-anchor="middle">{name}</text>'
            )
    title = (
        f'<text x="{(first + last) / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{html.escape(words)}</text>"
    )
    drawn = "".join(marks) + title
    return {"low": low, "high": high, "x0": first, "x1": last, "svg": drawn, "short": short,
            "words": words}  # fmt: skip


def _choices(axes: dict, points: list[dict]) -> str:
    options = "".join(
        f'<option value="{html.escape(key)}">{html.escape(axis["words"])}</option>'
        for key, axis in axes.items()
    )
    families = [name for name in _COLOURS if any(p["family"] == name for p in points)]
    kinds = [name for name in DATA if any(p["data"] == name for p in points)]
    boxes = "".join(
        f'<label><input type="checkbox" value="{html.escape(name)}" checked>'
        f' <i style="background: {_hex(_COLOURS[name])}"></i>{html.escape(name)}</label>'
        for name in families
    )
    sorts = "".join(
        f'<label><input type="checkbox" value="{name}"{" checked" if name == IN1K else ""}>'
        f" {html.escape(DATA[name])}</label>"
        for name in kinds
    )
    # hidden until the script shows it: without one nothing of it would work
    return (
        f'<form method="dialog" hidden><fieldset><label>across: <select>{options}</select></label>'
        f"</fieldset><fieldset>{boxes}</fieldset><fieldset>trained on: {sorts}</fieldset></form>"
    )


def _hex(colour) -> str:
    from matplotlib.colors import to_hex

    return to_hex(colour)


def _svg(points: list[dict], axis: dict, key: str) -> str:
    """The picture without a script: FLOPs, weights of ImageNet-1k alone, their front."""
    base = HEIGHT - BOTTOM
    rows = []
    for percent in range(round(100 * LOWEST), round(100 * HIGHEST) + 1, 5):
        y = _up(percent / 100)
        rows.append(
            f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{percent} %</text>'
        )
    plain = [n for n, p in enumerate(points) if p["data"] == IN1K and p["costs"][key]]
    front = found.on_front(
        [points[n]["costs"][key] for n in plain], [points[n]["top1"] for n in plain]
    )
    corners = sorted(
        (points[n]["costs"][key], points[n]["top1"])
        for n, chosen in zip(plain, front, strict=True)
        if chosen
    )
    line = " ".join(f"{_across(cost, axis):.1f},{_up(top1):.1f}" for cost, top1 in corners)
    shown = set(plain)
    dots = "".join(_dot(point, axis, key, n in shown) for n, point in enumerate(points))
    label = "Top-1 accuracy against FLOPs of known nets, the best for their FLOPs joined by a line"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="group" aria-label="{label}">'
        f'{"".join(rows)}<g class="axis">{axis["svg"]}</g>'
        f'<path d="M{LEFT} {base}H{WIDTH - RIGHT}" stroke="#333"/>'
        f'<polyline points="{line}" fill="none" stroke="#000" stroke-width="1.6"/>{dots}</svg>'
    )


def _across(cost: float, axis: dict) -> float:
    share = math.log(cost / axis["low"]) / math.log(axis["high"] / axis["low"])
    return axis["x0"] + (axis["x1"] - axis["x0"]) * share


def _up(top1: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (top1 - LOWEST) / (HIGHEST - LOWEST)


def _dot(point: dict, axis: dict, key: str, shown: bool) -> str:
    cost = point["costs"][key]
    at = f'cx="{_across(cost, axis):.1f}" ' if cost else ""
    hidden = "" if shown else ' style="display:none"'
    family = list(_COLOURS).index(point["family"])
    return f'<circle {at}cy="{_up(point["top1"]):.1f}" r="3.2" class="f{family}"{hidden}/>'


def _json(told: dict) -> str:
    """JSON that no HTML parser takes for the end of the script it lies in."""
    return json.dumps(told, separators=(",", ":")).replace("<", "\\u003c")
