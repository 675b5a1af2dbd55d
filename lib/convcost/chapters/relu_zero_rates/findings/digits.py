"""Zero rates against the digit: which one stands out, and whether its dark pixels explain it."""

import numpy as np
import pandas as pd

from convcost.chapters.relu_zero_rates.findings import paper


def _rates(filter_zero_rates: pd.DataFrame) -> pd.DataFrame:
    return filter_zero_rates.assign(rate=filter_zero_rates["zeros"] / filter_zero_rates["total"])


def digit_deviation(filter_zero_rates: pd.DataFrame) -> pd.DataFrame:
    """How far each digit's zero rates lie from the mean over the digits, per net and layer.

    Columns: seed, layer, digit, deviation (root mean square over the layer's filters of the
    digit's rate less the filter's mean over its digits, every digit counting alike; a fraction),
    place (1 is the digit that deviates most).

    >>> rows = [{"seed": 0, "layer": "conv1", "filter": 0, "digit": d, "zeros": z, "total": 10}
    ...         for d, z in ((0, 2), (1, 8), (2, 2))]  # mean 4
    >>> digit_deviation(pd.DataFrame(rows))["deviation"].round(3).tolist()
    [0.2, 0.4, 0.2]
    """
    rates = _rates(filter_zero_rates)
    mean = rates.groupby(["seed", "layer", "filter"])["rate"].transform("mean")
    squares = rates.assign(square=(rates["rate"] - mean) ** 2)
    deviation = squares.groupby(["seed", "layer", "digit"])["square"].mean() ** 0.5
    table = deviation.rename("deviation").reset_index()
    place = table.groupby(["seed", "layer"])["deviation"].rank(method="first", ascending=False)
    return table.assign(place=place.astype(int))


def digits_that_stand_out(filter_zero_rates: pd.DataFrame) -> pd.DataFrame:
    """How often each digit is the one that deviates most.

    Columns: layer, digit, seeds, first (nets in which no digit deviates more), share_first (of the
    seeds; 0.1 would be chance among ten), median_deviation (see `digit_deviation`).
    """
    table = digit_deviation(filter_zero_rates)
    groups = table.assign(first=table["place"] == 1).groupby(["layer", "digit"])
    result = groups.agg(
        seeds=("seed", "size"), first=("first", "sum"), median_deviation=("deviation", "median")
    ).reset_index()
    result.insert(4, "share_first", result["first"] / result["seeds"])
    return result


def filters_differ(filter_zero_rates: pd.DataFrame) -> pd.DataFrame:
    """How far a layer's filters lie apart, with their scatter over the digits as the yardstick.

    Columns: seed, layer, lowest, highest (zero rate of one filter, mean over its digits),
    between_filters (standard deviation of these means), between_digits (root mean square, over
    filters and digits, of a rate less its filter's mean), all fractions; apart, whether a filter
    has more zeros for each of its digits than another has for any.
    """
    rates = _rates(filter_zero_rates)
    filters = rates.groupby(["seed", "layer", "filter"])["rate"]
    within = (rates["rate"] - filters.transform("mean")) ** 2
    layers = filters.mean().groupby(level=["seed", "layer"])
    table = layers.agg(lowest="min", highest="max")
    table["between_filters"] = layers.std(ddof=0)
    ends = filters.agg(least="min", most="max").groupby(level=["seed", "layer"])
    table["apart"] = ends["least"].max() > ends["most"].min()
    table["between_digits"] = within.groupby([rates["seed"], rates["layer"]]).mean() ** 0.5
    return table.reset_index()


def alike(filter_zero_rates: pd.DataFrame) -> pd.DataFrame:
    """Whether the filters of a layer move alike over the digits, per net.

    Columns: seed, layer, filters (whose rate varies over the digits; the others have no
    correlation and are left out), mean_correlation: the mean of Pearson's correlation over all
    pairs of filters, 1 where all rise and fall together, about 0 where each goes its own way,
    missing with fewer than two filters.
    """
    rows = []
    for (seed, layer), group in _rates(filter_zero_rates).groupby(["seed", "layer"]):
        profiles = group.pivot(index="filter", columns="digit", values="rate").to_numpy()
        profiles = profiles[np.ptp(profiles, axis=1) > 0]
        count = len(profiles)
        mean = np.nan
        if count > 1:
            mean = np.corrcoef(profiles)[np.triu_indices(count, 1)].mean()
        rows.append({"seed": seed, "layer": layer, "filters": count, "mean_correlation": mean})
    return pd.DataFrame(rows)


def dark_shares(dark_pixels: pd.DataFrame) -> pd.DataFrame:
    """The share of dark pixels of the digit 1 and of all digits, beside the paper's 88 and 80 %.

    One row for each preparation and choice of images, as in the table. Columns: preparation,
    chosen, level, digit_share, all_share (pixels of all digits summed), published_digit,
    published_all (fractions), off_digit, off_all (ours less the paper's, in percentage points),
    agrees_digit, agrees_all (ours, rounded to whole percents, is what is printed), agrees (both).
    """
    rows = []
    published = {
        "digit": paper.value("background_share_digit1_percent"),
        "all": paper.value("background_share_all_percent"),
    }
    keys = ["preparation", "chosen", "level"]
    for names, group in dark_pixels.groupby(keys, sort=False):
        parts = {"digit": group[group["digit"] == paper.value("deviating_digit")], "all": group}
        found = {part: rows_["dark"].sum() / rows_["total"].sum() for part, rows_ in parts.items()}
        agrees = {part: round(100 * found[part]) == published[part] for part in parts}
        rows.append(
            dict(zip(keys, names, strict=True))
            | {f"{part}_share": share for part, share in found.items()}
            | {f"published_{part}": value / 100 for part, value in published.items()}
            | {f"off_{part}": 100 * share - published[part] for part, share in found.items()}
            | {f"agrees_{part}": holds for part, holds in agrees.items()}
            | {"agrees": all(agrees.values())}
        )
    return pd.DataFrame(rows)


def dark_ranks(layer_zero_rates: pd.DataFrame, dark_pixels: pd.DataFrame) -> pd.DataFrame:
    """Whether the ten digits' zero rates go with their dark pixels, net by net.

    Of `dark_pixels` the images as they are, of those that the zero rates were counted on. One row a
    seed and layer of the first recipe: seed, layer, spearman (of the digits' dark share with their
    zero rate), residual (the digit 1's rate less what a straight line through the nine others says
    at its dark share, in points), scatter (root mean square of the nine about that line, points).
    """
    first = layer_zero_rates.iloc[0]
    recipe = ["training", "initialisation", "normalisation"]
    own = layer_zero_rates[(layer_zero_rates[recipe] == first[recipe].to_list()).all(axis=1)]
    plain = dark_pixels[dark_pixels["preparation"].eq("as it is") & dark_pixels["chosen"].ne("all")]
    dark = (plain["dark"] / plain["total"]).set_axis(plain["digit"])
    digit, rows = paper.value("deviating_digit"), []
    for (seed, layer), net in own.groupby(["seed", "layer"], sort=False):
        rate = (net["zeros"] / net["total"]).set_axis(net["digit"])
        both = pd.DataFrame({"dark": dark, "rate": rate}).dropna()
        others = both.drop(index=digit)
        line = np.polyfit(others["dark"], others["rate"], 1)
        off = others["rate"] - np.polyval(line, others["dark"])
        rows.append(
            {
                "seed": seed,
                "layer": layer,
                "spearman": both["dark"].rank().corr(both["rate"].rank()),
                "residual": 100 * (both.loc[digit, "rate"] - np.polyval(line, dark[digit])),
                "scatter": 100 * float(np.sqrt((off**2).mean())),
            }
        )
    return pd.DataFrame(rows)
