"""How fast a search goes and how long it will take, in seconds, from looks at its Progress."""

import math
from collections import deque

from search.waves.progress import Progress

WINDOW = 30.0  # over which the speed is measured


class Pace:
    """Speed and time left of a search that began at `started`, by the clock that `look` is told."""

    def __init__(self, started: float) -> None:
        self.started = started
        self._looks: deque[tuple[float, int]] = deque()  # time, model-epochs; one before the window
        self._done_before: int | None = None
        self._rate, self._left, self._timeout = 0.0, 0, 0.0

    def look(self, now: float, progress: Progress) -> None:
        """Note how far the search is; the first look says how far it was before."""
        if self._done_before is None:
            self._done_before = progress.done
        self._looks.append((now, progress.model_epochs))
        while len(self._looks) > 2 and self._looks[1][0] <= now - WINDOW:
            self._looks.popleft()
        self._rate = (progress.done - self._done_before) / max(now - self.started, 1e-9)
        self._left = max(0, progress.total - progress.done)
        self._timeout = progress.timeout

    def speed(self, now: float) -> float:
        """Return model-epochs per second over the last WINDOW, 0 before there are any."""
        if not self._looks or now <= self._looks[0][0]:
            return 0.0
        (since, before), (_, latest) = self._looks[0], self._looks[-1]
        return (latest - before) / (now - since)

    def left(self, now: float) -> float:
        """Return seconds to the last trial or the timeout, whichever is first; inf if unknown.

        Trials are taken to end as fast as since the search began: an estimate.
        """
        by_trials = self._left / self._rate if self._rate else math.inf
        by_clock = self.started + self._timeout - now if self._timeout else math.inf
        return max(0.0, min(by_trials, by_clock))


def about(seconds: float) -> str:
    """Return a time in words that claim no more than is known: 35 s, 2 min, 1.5 h."""
    if seconds <= 55:
        return f"{max(5, math.ceil(seconds / 5) * 5)} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
