"""Following an execution until it ends, is left, or takes too long."""

import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from executor.cli.progress import Progress
from executor.cli.views import View
from executor.client import ResolutionClient
from executor.model.errors import NotAllowedNow, RexError, Unreachable

OUTAGE_S = 60.0
"""A server that is away for longer is not waited for."""
_LONELY_S = 2.0
_TURN_S = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Report = dict[str, Any]


class Left(Exception):
    """A second Ctrl-C."""


class TookTooLong(Exception):
    """`--wait` ran out."""


class Interrupts:
    """Counts Ctrl-C, SIGTERM and SIGHUP instead of being ended by them."""

    def __init__(self) -> None:
        self.count = self._wishes = 0
        self.reason = ""
        """What the first of them was."""

    @contextmanager
    def counting(self) -> Iterator[None]:
        # what our caller has us ignore, as nohup does, stays ignored
        caught = [which for which in _SIGNALS if signal.getsignal(which) is not signal.SIG_IGN]
        former = {which: signal.signal(which, self._hear) for which in caught}
        try:
            yield
        finally:
            for which, handler in former.items():
                signal.signal(which, handler)

    def _hear(self, number: int, _: object) -> None:
        self.reason = self.reason or ("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)
        if number == signal.SIGHUP:
            # of a closed terminal kernel and shell both tell, and others send it beside SIGTERM: no second wish
            self.count = max(self.count, 1)
            return
        self._wishes += 1
        self.count = max(self.count, self._wishes)


class _Reader(threading.Thread):
    """Reads events in a thread of its own: the main one must hear signals at once."""

    def __init__(self, client: ResolutionClient, execution: str, after: int) -> None:
        super().__init__(name="events", daemon=True)
        self._after = after
        self._client = client
        self._execution = execution
        self._stopping = threading.Event()
        self.found: queue.Queue[dict[str, Any] | Exception | None] = queue.Queue()

    def stop(self) -> None:
        """Nobody listens any more. It is not waited for: it may be waiting for a server that is gone."""
        self._stopping.set()

    def run(self) -> None:
        try:
            self._read()
        except Exception as error:  # noqa: BLE001 - a client closed under it raises whatever its layers raise
            if not self._stopping.is_set():
                self.found.put(error)

    def _read(self) -> None:
        seen, away_since, known = self._after, None, False
        while True:
            try:
                for event in self._client.events(self._execution, after=seen):
                    seen, away_since, known = event["seq"], None, True
                    self.found.put(event)
                    if self._stopping.is_set():
                        return
                self.found.put(None)
                return
            except Unreachable as error:
                away_since = away_since or time.monotonic()
                if self._stopping.is_set():
                    return
                if not known or time.monotonic() - away_since > OUTAGE_S:
                    self.found.put(error)
                    return
                self.found.put(_trouble(error))


def _trouble(error: RexError) -> dict[str, Any]:
    return {"event": "cli:trouble", "data": {"message": str(error)}}


class Follower:
    """Shows one execution to a view."""

    def __init__(
        self,
        client: ResolutionClient,
        execution: str,
        view: View,
        progress: Progress,
        *,
        after: int = 0,
        command: str = "rex",
    ) -> None:
        """
        Args:
            client: of the cluster.
            execution: its id.
            view: what it is shown to.
            progress: what the view draws.
            after: begin behind the event of this number.
            command: how another terminal reaches the cluster.
        """
        self._after = after
        self._command = command
        self._client = client
        self._execution = execution
        self._view = view
        self._progress = progress
        self._in_trouble = False

    def follow(self, *, wait_s: float | None, interrupts: Interrupts, on_interrupt: Callable[[], None]) -> Report:
        """Until it has ended; returns its report.

        Raises:
            Left: a second interruption.
            TookTooLong: after `wait_s` seconds.
            UnknownExecution, Unreachable: as the client does.
        """
        reader = _Reader(self._client, self._execution, self._after)
        reader.start()
        try:
            return self._follow(reader, wait_s, interrupts, on_interrupt)
        finally:
            reader.stop()

    def _follow(
        self, reader: _Reader, wait_s: float | None, interrupts: Interrupts, on_interrupt: Callable[[], None]
    ) -> Report:
        began = time.monotonic()
        heard, lonely = 0, False
        while True:
            if interrupts.count > heard:
                if heard == 0:
                    on_interrupt()
                heard = interrupts.count
                if heard > 1:
                    raise Left
            now = time.monotonic()
            if wait_s is not None and now - began > wait_s:
                raise TookTooLong
            if not lonely and self._progress.state == "pending" and now - began > _LONELY_S:
                lonely = True
                self._look_for_a_coordinator()
            try:
                found = reader.found.get(timeout=_TURN_S)
            except queue.Empty:
                self._view.tick()
                continue
            if found is None:
                return self._client.status(self._execution)
            if isinstance(found, Exception):
                raise found
            self._take(found)

    def _take(self, event: dict[str, Any]) -> None:
        if event["event"] == "cli:trouble":
            if not self._in_trouble:
                self._view.tell(f"{event['data']['message']}; trying for {OUTAGE_S:g} s")
            self._in_trouble = True
            return
        self._in_trouble = False
        if event["event"] == "execution:started":
            told = self._client.status(self._execution)["actions"]
            self._progress.expect((name, one["device"] or "") for name, one in told.items())
        self._progress.apply(event)
        self._view.event(event)
        if event["event"] == "rollback:waiting":
            self._view.tell(f"choose with: {self._command} rollback {self._execution} --choose")

    def _look_for_a_coordinator(self) -> None:
        if not any("control" in worker["queues"] for worker in self._client.workers()):
            self._view.tell("no coordinator is running, so nothing begins: start one with `rex coordinator`")


def ask_for_cancel(client: ResolutionClient, execution: str, view: View, reason: str) -> None:
    """What the first Ctrl-C, or another signal, of a run does."""
    try:
        client.cancel(execution, reason=reason)
    except NotAllowedNow as error:
        view.tell(f"{error}. Ctrl-C once more leaves")
    except Unreachable as error:
        view.tell(f"cannot ask for cancel: {error}. Ctrl-C once more leaves")
    else:
        view.tell("cancelling: what was done is taken back. Ctrl-C once more leaves without waiting for it")
