"""How much notebook 04 trains: the candidate values, the recipe, and the scale of each profile."""

from dataclasses import dataclass, replace

from convcost.training import Recipe

# Chosen once, by `recipe_trials`, for the baseline's accuracy on the validation split.
RECIPES = {
    "Adam, rate 0.001, batch 32": Recipe(lr=1e-3, batch_size=32, epochs=3),
    "Adam, rate 0.002, batch 32": Recipe(lr=2e-3, batch_size=32, epochs=3),
    "Adam, rate 0.002, batch 64": Recipe(lr=2e-3, batch_size=64, epochs=3),
}
CHOSEN = "Adam, rate 0.001, batch 32"


@dataclass(frozen=True)
class Scale:
    """How much of everything; nothing else differs between the profiles.

    The candidate values of `filters`, `input_px`, `kernel_px` and `layers`, the baseline's first.
    Each configuration in which one of them leaves the baseline is trained from `line_seeds` seeds,
    each of the grids of `filters` with another one from `grid_seeds`, `held_out` random ones from
    `held_out_seeds`, and each chosen optimum from `optimum_seeds`. To judge the choices, no fit
    having a say, there are `baseline_repeats` seeds of the baseline in all, `held_out_repeats` of
    each held-out configuration and `optimum_repeats` of each optimum for at least `repeated_drop`
    points. `recipes` are tried on the
    baseline with `trial_seeds`; all else is trained by `recipe`, on `images` of each split
    (None: all). `timed_batch` images are timed `repetitions` times. `drops`: percentage points
    given up, for each of which the cheapest configuration is sought.
    """

    filters: tuple[int, ...]
    input_px: tuple[int, ...]
    kernel_px: tuple[int, ...]
    layers: tuple[int, ...]
    line_seeds: int
    grid_seeds: int
    held_out: int
    held_out_seeds: int
    optimum_seeds: int
    baseline_repeats: int
    held_out_repeats: int
    optimum_repeats: int
    repeated_drop: float
    recipes: tuple[str, ...]
    trial_seeds: int
    recipe: Recipe
    images: int | None
    timed_batch: int
    repetitions: int
    min_s: float
    drops: tuple[float, ...] = (0.5, 1, 2, 5)
    device: str = "cpu"
    workers: int | None = None


_CPU = Scale(
    filters=(64, 48, 40, 32, 24, 16, 12, 8, 4, 2),
    input_px=(64, 56, 48, 40, 32, 24, 20, 12),
    kernel_px=(5, 4, 3),
    layers=(3, 2, 1),
    line_seeds=3,
    grid_seeds=1,
    held_out=50,
    held_out_seeds=1,
    optimum_seeds=5,
    baseline_repeats=8,
    held_out_repeats=3,
    optimum_repeats=10,
    repeated_drop=1,
    recipes=tuple(RECIPES),
    trial_seeds=1,
    recipe=RECIPES[CHOSEN],
    images=None,
    timed_batch=100,
    repetitions=20,
    min_s=0.02,
)
SCALES = {
    "quick": replace(
        _CPU,
        filters=(64, 16, 4, 2),
        input_px=(64, 32, 16, 12),
        kernel_px=(5, 3),
        layers=(3, 1),
        line_seeds=1,
        held_out=8,
        optimum_seeds=1,
        baseline_repeats=1,
        held_out_repeats=1,
        optimum_repeats=1,
        recipes=(),
        recipe=replace(RECIPES[CHOSEN], epochs=2),
        images=700,
        timed_batch=16,
        repetitions=5,
        min_s=0.002,
        drops=(2, 5),
    ),
    "cpu": _CPU,
    # several small nets at a time keep one GPU busy
    "gpu": replace(
        _CPU,
        line_seeds=6,
        grid_seeds=2,
        held_out_seeds=3,
        trial_seeds=3,
        device="cuda",
        timed_batch=500,
        workers=6,
    ),
}
SMOKE = replace(
    SCALES["gpu"],
    filters=(64, 2),
    input_px=(64, 12),
    kernel_px=(5,),
    layers=(3,),
    line_seeds=1,
    grid_seeds=1,
    held_out=0,
    held_out_seeds=1,
    optimum_seeds=1,
    baseline_repeats=1,
    held_out_repeats=1,
    optimum_repeats=1,
    trial_seeds=0,
    recipe=replace(RECIPES[CHOSEN], epochs=1),
    images=64,
    timed_batch=2,
    repetitions=2,
    min_s=0.001,
    workers=2,
)
"""One step of everything that `gpu` does: whether it runs at all."""
