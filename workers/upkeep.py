"""Deletes saved bytes that no rollback can need any more."""

import logging
import threading
from datetime import timedelta
from typing import Protocol

from executor.model.errors import UnknownExecution, Unreachable
from rollback.stores import FileStore

_log = logging.getLogger("rex.upkeep")

_EVERY_S = 3600.0
_MARGIN_S = 3600.0
_ALL = 1_000_000
_READ = 50


class Executions(Protocol):
    def executions(self, *, limit: int, finished: bool = True) -> list[str]: ...
    def head(self, execution: str) -> dict[str, str]: ...
    def now_ms(self) -> int: ...


class Upkeep:
    """A thread of each device's worker that prunes the device's store, hourly."""

    def __init__(self, store: FileStore, ledger: Executions, retention: timedelta) -> None:
        self._store = store
        self._ledger = ledger
        self._retention_s = retention.total_seconds()
        self._done = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="rex-upkeep", daemon=True).start()

    def stop(self) -> None:
        self._done.set()

    def prune(self) -> int:
        """Delete what is older than the retention, and older than every execution that the ledger still knows.

        Finished ones too: as long as the ledger keeps an execution, a person may take it back.
        """
        age_s = max(self._retention_s, self._oldest_s()) + _MARGIN_S
        return self._store.prune(age_s)

    def _oldest_s(self) -> float:
        """Age of the oldest execution.

        Ids begin with the time at which a client made them, so that only a few need to be read; how far the clock of a
        client may be off is what the margin is for.
        """
        now_ms, ages = self._ledger.now_ms(), [0.0]
        for execution in sorted(self._ledger.executions(limit=_ALL)):
            try:
                ages.append((now_ms - int(self._ledger.head(execution)["created"])) / 1000)
            except UnknownExecution:  # it was forgotten meanwhile
                continue
            if len(ages) > _READ:
                break
        return max(ages)

    def _run(self) -> None:
        while not self._done.wait(_EVERY_S):
            try:
                if gone := self.prune():
                    _log.info("deleted %d saved files that no rollback can need", gone)
            except (OSError, Unreachable) as error:
                _log.warning("saved bytes stay for now: %s", error)
