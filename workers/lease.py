"""What this process runs, and the thread that renews it.

One call renews everything; its answer says what was cancelled or taken over, or that this worker is fenced. A second
thread tells the parent process that this one is not frozen, without asking the server.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from executor.model.device import Vitals
from executor.model.errors import ActionCancelled, RexError
from executor.model.execution import Claimed
from executor.model.state import Renewed

_log = logging.getLogger("rex.lease")

BEAT_S = 0.3
OVERSTAY_S = 5.0
"""A run that ignores its deadline for so long ends the process: nothing may be stuck."""


class Renewing(Protocol):
    def renew(self, incarnation: str, running: list[Claimed], vitals: Vitals | None = None) -> Renewed | None: ...


class Hold:
    """One claimed action while it runs."""

    def __init__(self, claimed: Claimed, leases: "Leases", ends_at: float) -> None:
        self.claimed = claimed
        self.ends_at = ends_at
        self._leases = leases
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def cancelled(self) -> bool:
        """Whether the attempt must stop: cancelled, or its token was raised."""
        return self._stopped.is_set()

    def guard(self) -> None:
        """Before an effect: is the token young enough to be sure that nobody else has taken over?

        Raises:
            ActionCancelled: it was taken over or cancelled.
        """
        self._leases.ensure_young()
        if self._stopped.is_set():
            raise ActionCancelled(f"{self.claimed.step.id} must stop: it was cancelled or taken over")


class Leases:
    """All claims that this process holds."""

    def __init__(
        self,
        ledger: Renewing,
        incarnation: str,
        *,
        renewal_s: float,
        silence_s: float,
        on_fenced: Callable[[], None],
        on_forgotten: Callable[[], None] = lambda: None,
        on_news: Callable[[int], None] = lambda _: None,
        vitals: Callable[[float], Vitals | None] = lambda _: None,
    ) -> None:
        """
        Args:
            ledger: where it renews.
            incarnation: of this worker.
            renewal_s: how often.
            silence_s: after so long without, others take it for dead.
            on_fenced: called when they have.
            on_forgotten: called when the ledger knows of no announcement of this worker.
            on_news: called with what the ledger says of new documents.
            vitals: what is to be told with the next renewal, if anything; given how long the last one took.
        """
        self._ledger = ledger
        self.incarnation = incarnation
        self._renewal_s = renewal_s
        self._young_s = silence_s * 0.6
        self._on_fenced = on_fenced
        self._on_forgotten = on_forgotten
        self._on_news = on_news
        self._vitals = vitals
        self._answer_s = 0.0
        self._lock = threading.Lock()
        self._holds: dict[str, Hold] = {}
        self._renewed_at = time.monotonic()
        self._done = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, beat_fd: int | None = None) -> None:
        """Begin to renew; with `beat_fd`, also to beat for the parent."""
        self._threads = [threading.Thread(target=self._renew_for_ever, name="rex-renew", daemon=True)]
        if beat_fd is not None:
            self._threads.append(
                threading.Thread(target=self._beat_for_ever, args=(beat_fd,), name="rex-beat", daemon=True)
            )
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop renewing; beats go on until the process ends, because its parent still watches."""
        self._done.set()

    @contextlib.contextmanager
    def hold(self, claimed: Claimed) -> Iterator[Hold]:
        """Renew `claimed` while the block runs."""
        allowed = claimed.step.timeout_s * (2 if claimed.step.fallback else 1)
        held = Hold(claimed, self, time.monotonic() + allowed)
        with self._lock:
            self._holds[claimed.token] = held
        try:
            yield held
        finally:
            with self._lock:
                self._holds.pop(claimed.token, None)

    def end(self) -> None:
        """This worker was declared dead: end the process, its messages unacknowledged, to be started anew."""
        self._on_fenced()

    def running(self) -> list[Claimed]:
        with self._lock:
            return [held.claimed for held in self._holds.values()]

    def ensure_young(self) -> None:
        """Renew now when the last renewal is so old that we may have been declared dead."""
        if time.monotonic() - self._renewed_at > self._young_s:
            self._renew()

    def _renew_for_ever(self) -> None:
        while not self._done.wait(self._renewal_s):
            try:
                self._renew()
            except RexError as error:
                # the server is away, or full: a thread that ended here would make a dead worker of a healthy one
                _log.warning("cannot renew, trying again: %s", error)
            self._end_what_overstays()

    def _renew(self) -> None:
        with self._lock:
            holds = dict(self._holds)
        began = time.monotonic()
        vitals = self._vitals(self._answer_s)
        renewed = self._ledger.renew(self.incarnation, [held.claimed for held in holds.values()], vitals)
        self._answer_s = time.monotonic() - began
        if renewed is None:
            _log.error("worker %s was declared dead; ending, to be started anew", self.incarnation)
            for held in holds.values():
                held.stop()
            self._on_fenced()
            return
        self._renewed_at = began
        if not renewed.announced:
            self._on_forgotten()
        self._on_news(renewed.news)
        for token in renewed.stopped:
            if token in holds:
                holds[token].stop()

    def _end_what_overstays(self) -> None:
        now = time.monotonic()
        with self._lock:
            late = [held for held in self._holds.values() if now > held.ends_at + OVERSTAY_S]
        for held in late:
            _log.error("%s ignores its deadline; ending this process", held.claimed.step.id)
            self._on_fenced()

    def _beat_for_ever(self, fd: int) -> None:
        while True:
            try:
                os.write(fd, b".")
            except OSError:  # the parent is gone: whoever watches it sees to us
                return
            time.sleep(BEAT_S)
