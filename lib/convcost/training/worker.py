"""A process that trains one seed after the other: `python -m convcost.training.worker`.

`train_many` starts it and speaks with it as `sweep.crew` says: the job (`job.write`), then a
seed per line; it tells of every epoch.
"""

from convcost.sweep import crew
from convcost.training import job, shelf
from convcost.training.loop import train


def prepare(pipe):
    """What to do with a seed, from the job on the pipe."""
    net, sets, recipe, execution, family = job.read(pipe)

    def do(seed: int, tell) -> None:
        trained = train(
            net, sets, recipe, seed, execution=execution,
            on_epoch=lambda number: tell("epoch", number=number),
        )  # fmt: skip
        shelf.save(trained, family)

    return do


if __name__ == "__main__":
    crew.serve(prepare)
