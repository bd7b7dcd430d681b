"""What of the outbox this process is at: it is postponed, so that nobody else begins it besides."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator

from executor.model.errors import RexError

_log = logging.getLogger("rex.underway")

_POSTPONE_S = 0.5
_LONGEST_S = 600.0
"""What takes longer hangs: others may try."""


class Underway:
    """Entries of the outbox that take long, as plans and messages of thousands of actions do on a busy machine.

    An entry is due again after two seconds. What is begun a second time delays the first, and so on: with each time all
    of it takes longer.
    """

    def __init__(self, postpone: Callable[[str], None]) -> None:
        """
        Args:
            postpone: tells the ledger that an entry is being seen to.
        """
        self._postpone = postpone
        self._changed = threading.Condition()
        self._begun: dict[object, tuple[str, float]] = {}
        self._watching = False

    @contextlib.contextmanager
    def keeping(self, entry: str) -> Iterator[None]:
        """Keep others from `entry` during the block; for as long as this process lives."""
        token = object()
        with self._changed:
            self._begun[token] = (entry, time.monotonic())
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._run, name="rex-underway", daemon=True).start()
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                del self._begun[token]

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._begun)
            # most are through before their first postponement
            time.sleep(_POSTPONE_S)
            with self._changed:
                now = time.monotonic()
                entries = [one for one, since in self._begun.values() if _POSTPONE_S <= now - since <= _LONGEST_S]
            for entry in entries:
                try:
                    self._postpone(entry)
                except RexError:
                    pass  # a ledger that is away cannot give it to others either
                except Exception:  # noqa: BLE001
                    # the thread goes on: nobody would begin another
                    _log.exception("cannot postpone %s", entry)
