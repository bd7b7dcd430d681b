"""Ending in order: what runs finishes, nothing new begins, and what was fetched goes back to be done elsewhere."""

import queue
import threading
from collections.abc import Callable

_FETCHED_S = 2.0
"""Longest time until a worker that was told to end has stopped fetching."""


class Leaving:
    """Whether this process was told to end."""

    def __init__(self, announce: Callable[[], None]) -> None:
        """
        Args:
            announce: says so to the others; called once, by a thread of its own.
        """
        self._announce = announce
        self._told = False
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._fetches_no_more = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._wait, name="rex-leaving", daemon=True).start()

    def stop(self) -> None:
        self._asked.put(False)

    def ask(self) -> None:
        """Begin to leave. May be called by a signal's handler: it takes no lock, and waits for nothing."""
        if not self._told:
            self._told = True
            self._asked.put(True)

    @property
    def begun(self) -> bool:
        return self._told

    def fetches_no_more(self) -> None:
        """From here on no message comes any more, so what goes back does not come again."""
        self._fetches_no_more.set()

    def wait_for_that(self) -> None:
        """Until what is put back goes to somebody else."""
        self._fetches_no_more.wait(_FETCHED_S)

    def _wait(self) -> None:
        if self._asked.get():
            self._announce()
