"""Progress of an action with many small steps, told a few times a second."""

import time

from executor.action import Run

_EVERY_S = 0.3


class Pace:
    """Counts steps, and tells the run how far it is.

    Args:
        total: how many steps there will be.
    """

    def __init__(self, run: Run, total: int) -> None:
        self._run = run
        self._total = max(total, 1)
        self._done = 0
        self._next = time.monotonic() + _EVERY_S

    def step(self, count: int, what: str = "") -> None:
        """`count` steps more are done; `what` is worked on."""
        self._done += count
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _EVERY_S
            self._run.progress(self._done / self._total, what.encode("utf-8", "backslashreplace").decode())
