"""What an execution may still need to be taken back is not pruned, however old it is."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from executor.model.errors import UnknownExecution
from rollback.stores import FileStore
from workers.upkeep import Upkeep

DAY_S = 86400.0


class Known:
    """A ledger that knows executions of the given ages in seconds; one more is forgotten as soon as it is asked for."""

    def __init__(self, *, running: list[float], finished: list[float]) -> None:
        self._heads = {f"{1_000_000_000 - int(age)}": age for age in [*running, *finished]}
        self._running = {f"{1_000_000_000 - int(age)}" for age in running}
        self.read = 0

    def executions(self, *, limit: int, finished: bool = True) -> list[str]:
        names = [name for name in self._heads if finished or name in self._running]
        return ["0", *sorted(names, reverse=True)][:limit]

    def head(self, execution: str) -> dict[str, str]:
        self.read += 1
        if execution not in self._heads:
            raise UnknownExecution(execution)
        return {"created": str(self.now_ms() - int(self._heads[execution] * 1000))}

    def now_ms(self) -> int:
        return int(time.time() * 1000)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """Holds what was saved 10 days ago, one by one and in a batch."""
    made = FileStore(tmp_path / "store")
    made.save(b"single")
    with made.batch() as batch:
        batch.add(b"packed")
    old = time.time() - 10 * DAY_S
    for path in made.root.rglob("*"):
        os.utime(path, (old, old))
    return made


@pytest.mark.parametrize(
    ("running", "finished", "gone"),
    [
        ([], [], 2),
        ([DAY_S], [2 * DAY_S], 2),
        ([11 * DAY_S], [], 0),
        ([], [11 * DAY_S], 0),
        ([DAY_S], [10 * DAY_S], 0),
    ],
)
def test_nothing_goes_that_an_execution_in_the_ledger_may_need(
    store: FileStore, running: list[float], finished: list[float], gone: int
) -> None:
    """Running or finished: as long as the ledger keeps it, it can be taken back."""
    assert Upkeep(store, Known(running=running, finished=finished), timedelta(days=7)).prune() == gone


def test_what_is_younger_than_the_retention_stays(store: FileStore) -> None:
    """Also when the ledger knows nothing at all, as after a loss."""
    assert Upkeep(store, Known(running=[], finished=[]), timedelta(days=11)).prune() == 0


def test_few_of_many_executions_are_read(store: FileStore) -> None:
    """The oldest have the smallest ids."""
    known = Known(running=[], finished=[float(age) for age in range(2000)])
    Upkeep(store, known, timedelta(days=7)).prune()
    assert known.read < 100
