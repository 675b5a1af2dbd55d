"""Zero rates of many nets: what the paper's one net could have shown by its seed alone."""

from itertools import product

import numpy as np
import pandas as pd

from convcost.chapters.relu_zero_rates.findings import paper
from convcost.chapters.relu_zero_rates.findings.digits import digits_that_stand_out
from convcost.core.errors import BadInputError

RECIPE = ["training", "initialisation", "normalisation"]
CROSSED = ["initialisation", "normalisation"]

NARROW = 0.2
MOST = 0.95
ENOUGH = 5  # nets of a recipe, for its median to say something

SECOND_FILTER = "second-highest filter of conv1"
DIFFERENCE = "conv2 minus conv1"
HIGH_ZEROS = "zeros of conv1's highest filters, of its outputs"


def over_level() -> str:
    """The name of the quantity that counts conv1's filters above the paper's level."""
    return f"filters of conv1 over {paper.value('zero_rate_conv1_high_filters')} %"


def layer_shares(layer_zero_rates: pd.DataFrame) -> pd.DataFrame:
    """The zero rate of each layer of each net, over all its digits.

    Columns: training, initialisation, normalisation, seed, layer, zero_fraction: zeros of all
    digits over outputs of all digits, so that a digit with more images counts for more. In the
    order of the table.

    >>> recipe = {"training": "", "initialisation": "he", "normalisation": "0..1"}
    >>> row = recipe | {"seed": 0, "layer": "conv1"}
    >>> layer_shares(pd.DataFrame([row | {"digit": 0, "zeros": 1, "total": 4},
    ...     row | {"digit": 1, "zeros": 3, "total": 4}]))["zero_fraction"].tolist()
    [0.5]
    """
    keys = [*RECIPE, "seed", "layer"]
    sums = layer_zero_rates.groupby(keys, sort=False)[["zeros", "total"]].sum()
    return (sums["zeros"] / sums["total"]).rename("zero_fraction").reset_index()


def of_first_recipe(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the nets that were trained by the recipe of the first row.

    The tables begin with the recipe of which there are most nets; the others vary it.
    """
    return table[(table[RECIPE] == table[RECIPE].iloc[0]).all(axis=1)]


def filter_rates(filter_zero_rates: pd.DataFrame) -> pd.DataFrame:
    """The zero rate of each filter over all digits: seed, layer, filter, zero_fraction."""
    sums = filter_zero_rates.groupby(["seed", "layer", "filter"])[["zeros", "total"]].sum()
    return (sums["zeros"] / sums["total"]).rename("zero_fraction").reset_index()


def quantities(layer_zero_rates: pd.DataFrame, filter_zero_rates: pd.DataFrame) -> pd.DataFrame:
    """What the paper prints of its one net, for each net of the first recipe.

    Indexed by seed, one column each: the rates of conv1, conv2, fc120 and fc84; conv2's less
    conv1's; the rate of conv1's second-highest filter; how many filters of conv1 are above the
    paper's level; the zeros of conv1's two highest filters, as a share of all outputs of conv1:
    what would be saved if just they were skipped. Rates are fractions. A net that lacks rows in
    `filter_zero_rates` has missing values there.
    """
    layers = of_first_recipe(layer_shares(layer_zero_rates)).pivot(
        index="seed", columns="layer", values="zero_fraction"
    )[list(paper.RELU_LAYERS)]
    layers[DIFFERENCE] = layers["conv2"] - layers["conv1"]
    filters = filter_rates(filter_zero_rates)
    conv1 = filters[filters["layer"] == "conv1"]
    rates = conv1.pivot(index="seed", columns="filter", values="zero_fraction")
    highest = pd.DataFrame(-np.sort(-rates.to_numpy()), index=rates.index)
    level = paper.share("zero_rate_conv1_high_filters")
    layers[SECOND_FILTER] = highest[1]
    layers[over_level()] = (rates > level).sum(axis=1).astype(float)
    layers[HIGH_ZEROS] = highest.iloc[:, : paper.high_filters()].sum(axis=1) / rates.shape[1]
    return layers.rename_axis(columns=None)


def _published() -> dict[str, float]:
    rates = {layer: paper.share(f"zero_rate_{layer}") for layer in paper.RELU_LAYERS}
    return {
        **rates,
        DIFFERENCE: rates["conv2"] - rates["conv1"],
        SECOND_FILTER: paper.share("zero_rate_conv1_high_filters"),
        over_level(): float(paper.high_filters()),
        HIGH_ZEROS: paper.share("removed_multiplications_percent"),
    }


def percentile(values: pd.Series, published: float) -> float:
    """How many of 100 values lie below the published one; a value equal to it counts half.

    >>> percentile(pd.Series([0.3, 0.4, 0.5, 0.6]), 0.5)
    62.5
    """
    equal = np.isclose(values, published, rtol=0, atol=1e-12)
    below = (values < published) & ~equal
    return float(100 * (below.mean() + equal.mean() / 2))


def _range(values: pd.Series) -> dict[str, float]:
    p05, median, p95 = np.quantile(values, (0.05, 0.5, 0.95))
    return {"seeds": len(values), "median": median, "p05": p05, "p95": p95}


def against_seeds(layer_zero_rates: pd.DataFrame, filter_zero_rates: pd.DataFrame) -> pd.DataFrame:
    """Each number that the paper prints of its net, beside the same number of many nets.

    One row a quantity of `quantities`. Columns: quantity, published, published_as ("value" or
    "lower bound", where the paper says over), seeds, median, p05, p95, lowest, highest, percentile
    (of the published value, see `percentile`), inside (p05 <= published <= p95; for a lower bound,
    published < p95). Only nets of the first recipe.
    """
    nets = quantities(layer_zero_rates, filter_zero_rates)
    rows = []
    for quantity, published in _published().items():
        values = nets[quantity].dropna()
        found = _range(values)
        bound = quantity == SECOND_FILTER
        reached = found["p95"] > published
        rows.append(
            {
                "quantity": quantity,
                "published": published,
                "published_as": "lower bound" if bound else "value",
                **found,
                "lowest": values.min(),
                "highest": values.max(),
                "percentile": percentile(values, published),
                "inside": bool(reached if bound else found["p05"] <= published <= found["p95"]),
            }
        )
    return pd.DataFrame(rows)


def by_recipe(layer_zero_rates: pd.DataFrame) -> pd.DataFrame:
    """The layers' zero rates for each recipe: the paper names none of what makes one.

    Columns: training, initialisation, normalisation, layer, seeds, median, p05, p95, published,
    percentile, inside. In the order of the table, the first recipe first.
    """
    rows = []
    shares = layer_shares(layer_zero_rates)
    for (*recipe, layer), group in shares.groupby([*RECIPE, "layer"], sort=False):
        found = _range(group["zero_fraction"])
        published = paper.share(f"zero_rate_{layer}")
        rows.append(
            {
                **dict(zip(RECIPE, recipe, strict=True)),
                "layer": layer,
                **found,
                "published": published,
                "percentile": percentile(group["zero_fraction"], published),
                "inside": bool(found["p05"] <= published <= found["p95"]),
            }
        )
    return pd.DataFrame(rows)


def spread_shares(layer_zero_rates: pd.DataFrame) -> pd.DataFrame:
    """How much of the spread of a layer's zero rate each choice makes.

    One row a layer: layer, seeds (nets of each recipe), spread (standard deviation over all nets),
    then fractions that sum to 1: initialisation, normalisation, both (what the two do together
    beyond their sum), seed (the rest).

    Convention: sums of squares of a two-way layout with the seeds as repetitions, over the nets
    trained as those of the first recipe, and over the seeds that all their recipes have. The means
    of a recipe are over few seeds and carry some of their scatter: were the seed all that counts,
    with I and J choices and n nets in all the first two would still get (I-1)/(n-1) and
    (J-1)/(n-1) on average. With one seed a recipe its part cannot be told from `both`, and stands
    there.

    Refused with BadInputError: recipes that are not all combinations of the initialisations and
    normalisations that occur, and recipes without a seed in common.
    """
    shares = layer_shares(layer_zero_rates)
    shares = shares[shares["training"] == shares["training"].iloc[0]]
    nets = shares.pivot(index=[*CROSSED, "seed"], columns="layer", values="zero_fraction").dropna()
    seeds_of = nets.reset_index().groupby(CROSSED)["seed"].agg(set)
    levels = [list(dict.fromkeys(shares[name])) for name in CROSSED]
    recipes = list(product(*levels))
    absent = [recipe for recipe in recipes if recipe not in seeds_of.index]
    if absent:
        raise BadInputError(
            f"spread_shares: no nets of {', '.join(' with '.join(r) for r in absent)}; every "
            "initialisation is needed with every normalisation"
        )
    seeds = sorted(set.intersection(*seeds_of))
    if not seeds:
        raise BadInputError("spread_shares: the recipes have no seed in common")
    order = pd.MultiIndex.from_tuples([(*recipe, seed) for recipe in recipes for seed in seeds])
    rows = []
    for layer in dict.fromkeys(shares["layer"]):
        rates = nets[layer].loc[order].to_numpy().reshape(*map(len, levels), len(seeds))
        mean, cells = rates.mean(), rates.mean(2, keepdims=True)
        first, second = rates.mean((1, 2), keepdims=True), rates.mean((0, 2), keepdims=True)
        effects = {
            "initialisation": first - mean,
            "normalisation": second - mean,
            "both": cells - first - second + mean,
            "seed": rates - cells,
        }
        squares = {
            name: float((np.broadcast_to(effect, rates.shape) ** 2).sum())
            for name, effect in effects.items()
        }
        total = float(((rates - mean) ** 2).sum())
        rows.append(
            {"layer": layer, "seeds": len(seeds), "spread": float(rates.std())}
            | {name: part / total if total else np.nan for name, part in squares.items()}
        )
    return pd.DataFrame(rows)


def stable_or_seed(layer_zero_rates: pd.DataFrame, filter_zero_rates: pd.DataFrame) -> pd.DataFrame:
    """Which of the paper's findings belong to the net, to its training, to the one seed it had.

    One row a finding. Columns: finding, published, typical, relative_width, lowest_recipe,
    highest_recipe, holds_in, verdict: "property of the net", "matter of the training" or "matter
    of the seed".

    Rule for a number (`typical` its median over the seeds of the first recipe, `relative_width`
    (p95 - p05) / |median|): matter of the seed where the width is above a fifth (`NARROW`), so that
    nine nets of ten lie further apart than about 10 % of the median either way. The paper prints
    two digits; of a number that another seed moves further than that, not even the first one holds.
    Else matter of the training where the medians of the recipes, from `lowest_recipe` to
    `highest_recipe`, lie further apart than that. Recipes of fewer than `ENOUGH` nets say nothing;
    nor is anything known of other recipes' filters, so numbers of filters have no such range.
    Rule for a statement (`holds_in` the share of nets): property of the net where 95 % (`MOST`) of
    the nets agree on it, be it for or against.
    """
    nets = quantities(layer_zero_rates, filter_zero_rates)
    recipes = _recipe_medians(layer_zero_rates)
    rows = []
    for quantity, published in _published().items():
        if quantity == over_level():
            continue  # a small count is a statement: two filters, or not
        found = _range(nets[quantity].dropna())
        allowed = NARROW * abs(found["median"])
        width = found["p95"] - found["p05"]
        of_recipes = recipes.get(quantity, pd.Series(dtype=float))
        low, high = of_recipes.min(), of_recipes.max()
        verdict = NET
        if width > allowed:
            verdict = SEED
        elif high - low > allowed:
            verdict = TRAINING
        rows.append(
            {
                "finding": quantity,
                "published": published,
                "typical": found["median"],
                "relative_width": NARROW * width / allowed if allowed else np.nan,
                "lowest_recipe": low,
                "highest_recipe": high,
                "verdict": verdict,
            }
        )
    for statement, holds in _statements(nets, filter_zero_rates).items():
        agree = holds >= MOST or holds <= 1 - MOST
        rows.append({"finding": statement, "holds_in": holds, "verdict": NET if agree else SEED})
    columns = ["finding", "published", "typical", "relative_width", "lowest_recipe"]
    return pd.DataFrame(rows, columns=[*columns, "highest_recipe", "holds_in", "verdict"])


NET, TRAINING, SEED = "property of the net", "matter of the training", "matter of the seed"


def _recipe_medians(layer_zero_rates: pd.DataFrame) -> pd.DataFrame:
    """The median of each layer's rate, and of conv2's less conv1's, for each recipe of enough."""
    shares = layer_shares(layer_zero_rates)
    nets = shares.pivot(index=[*RECIPE, "seed"], columns="layer", values="zero_fraction")
    nets[DIFFERENCE] = nets["conv2"] - nets["conv1"]
    recipes = nets.groupby(level=RECIPE)
    return recipes.median()[recipes.size() >= ENOUGH]


def _statements(nets: pd.DataFrame, filter_zero_rates: pd.DataFrame) -> dict[str, float]:
    """Statement of the paper -> share of the nets in which it holds."""
    digit, count = paper.value("deviating_digit"), paper.high_filters()
    first = digits_that_stand_out(filter_zero_rates)
    first = first[first["digit"] == digit].set_index("layer")["share_first"]
    return {
        "conv2 above conv1": float((nets[DIFFERENCE].dropna() > 0).mean()),
        f"{count} {over_level()}": float((nets[over_level()].dropna() == count).mean()),
        **{f"digit {digit} deviates most in {layer}": share for layer, share in first.items()},
    }
