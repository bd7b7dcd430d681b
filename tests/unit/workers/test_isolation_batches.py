"""A snapshot type of others runs in a process of its own, and saves in batches through the worker."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
from support.worlds import Bench

from executor.action import ActionType
from executor.model.errors import ActionError
from rollback.stores import FileStore
from workers.run import perform

TYPES = """
import os
from executor.action import ActionType, Snapshot
from executor.model.strategy import Model

class Saving(ActionType):
    uses = "test.saving"
    class Parameters(Model):
        end: str = ""
    def snapshot(self, run):
        with run.saved.batch() as batch:
            names = [batch.add(b"%d" % number) for number in range(50)]
            if run.parameters.end == "raise": raise ValueError("broken off")
            if run.parameters.end == "die": os._exit(9)
        damaged = run.saved.damaged([*names, "0" * 64])
        return Snapshot({"names": names, "damaged": damaged, "room": run.saved.room()})
    def execute(self, run): return None
"""


@pytest.fixture
def saving(importable: Callable[[str, str], str]) -> ActionType:
    importable("rex_test_saving", TYPES)
    return importlib.import_module("rex_test_saving").Saving()


@pytest.fixture
def store(bench: Bench, tmp_path: Path) -> FileStore:
    bench.saved = FileStore(tmp_path / "store", max_bytes=1 << 20)  # type: ignore[assignment]
    return bench.saved  # type: ignore[return-value]


def test_a_batch_of_another_process_is_saved(bench: Bench, store: FileStore, saving: ActionType) -> None:
    """With everything else that a store offers."""
    data = bench.begin(saving).snapshot
    assert data is not None
    assert [store.load(name) for name in data["names"]] == [b"%d" % number for number in range(50)]
    assert data["damaged"] == ["0" * 64]
    assert data["room"] == store.room() > 0


@pytest.mark.parametrize("end", ["raise", "die"])
def test_a_batch_that_was_broken_off_counts_for_nothing(
    bench: Bench, store: FileStore, saving: ActionType, end: str
) -> None:
    """Whether its code raised, or its process died; and nobody is kept from pruning."""
    with pytest.raises(ActionError):
        perform(saving, "snapshot", bench.run(saving, end=end))
    assert list((store.root / "packs").iterdir()) == []
    assert store.prune(0) == 0
