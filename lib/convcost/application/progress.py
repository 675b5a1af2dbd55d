"""Where a run of several notebooks is: a bar on a terminal, else a line now and then."""

import threading
import time
from collections.abc import Mapping
from typing import TextIO

from convcost.application.engine import Progress
from convcost.core.extras import optional


def clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> clock(3725)
    '1:02:05'
    """
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


class Reporter:
    """Says where the run is: a bar on a terminal, else a line at least every `every_s`."""

    def __init__(self, expected_s: Mapping[str, float], out: TextIO, every_s: float):
        """`expected_s`: the seconds of every notebook that is to be run."""
        self._waiting = dict(expected_s)
        self._out, self._every_s = out, every_s
        self._now: Progress | None = None
        self._name: str | None = None
        self._expected, self._began = 0.0, 0.0
        self._bar = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> "Reporter":
        if self._out.isatty():
            with optional():
                from tqdm import tqdm

            self._bar = tqdm(total=1, file=self._out, bar_format="{desc} {bar} {postfix}")
            self._every_s = 1.0
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._bar is not None:
            self._bar.close()

    def say(self, text: str) -> None:
        """A line that stays, above the bar."""
        if self._bar is not None:
            self._bar.write(text, file=self._out)
        else:
            print(text, file=self._out, flush=True)

    def begin(self, name: str) -> None:
        """A notebook starts."""
        self._expected = self._waiting.pop(name, 0.0)
        self._began, self._now, self._name = time.monotonic(), None, name
        about = f" (about {clock(self._expected)})" if self._expected else ""
        self.say(f"{name}: begins{about}")

    def end(self) -> None:
        """A notebook has ended."""
        self._now = self._name = None

    def __call__(self, progress: Progress) -> None:
        self._now = progress
        if self._bar is not None:
            self._show()

    def _left(self, now: Progress) -> tuple[float, float]:
        """(this notebook, all notebooks): seconds still to go, from its card, or its own pace."""
        elapsed = time.monotonic() - self._began
        own = self._expected - elapsed
        if own <= 0:
            done = max(1, now.cell - (now.state == "running"))
            own = elapsed * (now.cells - done) / done
        return own, own + sum(self._waiting.values())

    def _tick(self) -> None:
        while not self._stop.wait(self._every_s):
            self._show()

    def _show(self) -> None:
        now, name = self._now, self._name
        elapsed = clock(time.monotonic() - self._began)
        if now is None:
            if name and self._bar is None:
                self.say(f"{name}: its kernel is starting, {elapsed} elapsed")
            return
        own, everything = (clock(s) for s in self._left(now))
        if self._bar is None:
            self.say(
                f"{now.notebook}: cell {now.cell} of {now.cells}, {elapsed} elapsed, about {own} "
                f"left (all notebooks: about {everything})"
            )
            return
        self._bar.set_description_str(now.notebook, refresh=False)
        self._bar.total = now.cells
        self._bar.n = now.cell - (now.state == "running")
        self._bar.set_postfix_str(
            f"cell {now.cell} of {now.cells}, {elapsed}, about {own} left, all: {everything}"
        )
