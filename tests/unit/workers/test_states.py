"""What a worker does with the documents of its devices: files that are whole, and private."""

import json
from pathlib import Path

import pytest
from support.waiting import wait_until

from executor.ledger.memory import MemoryLedger
from executor.model.device import Announcement
from workers.states import DeviceStates


@pytest.fixture
def ledger() -> MemoryLedger:
    made = MemoryLedger()
    for name in ("w1", "w2"):
        made.register(name, Announcement(devices=("edge-1", "edge-2")))
    return made


def states(ledger: MemoryLedger, folder: Path, name: str = "w1") -> DeviceStates:
    return DeviceStates(ledger, name, folder / "state", ["edge-1", "edge-2"])


def acknowledged(ledger: MemoryLedger, device: str = "edge-1") -> int:
    return ledger.known([device])[device].acknowledged


def test_what_is_known_at_the_start_is_there_before_anything_runs(ledger: MemoryLedger, tmp_path: Path) -> None:
    """Written for this user alone, and acknowledged."""
    ledger.synchronize(["edge-1"], '{"flag":true}')
    mine = states(ledger, tmp_path)
    mine.start()
    mine.stop()
    assert (mine.of("edge-1"), mine.of("edge-2"), acknowledged(ledger)) == ({"flag": True}, {}, 1)
    path = tmp_path / "state" / "edge-1.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert json.loads(path.read_text())["document"] == {"flag": True}


def test_news_is_fetched_and_the_same_news_is_not(ledger: MemoryLedger, tmp_path: Path) -> None:
    mine = states(ledger, tmp_path)
    mine.start()
    ledger.synchronize(["edge-1"], '{"a":1}')
    mine.notice(1)
    wait_until(lambda: acknowledged(ledger) == 1, description="it is acknowledged")
    mine.of("edge-1")["a"] = "spoiled by an action"
    assert mine.of("edge-1") == {"a": 1}
    mine.stop()


def test_a_restarted_worker_has_its_documents_without_news(ledger: MemoryLedger, tmp_path: Path) -> None:
    """And one whose directory was wiped gets them again, although they were acknowledged."""
    ledger.synchronize(["edge-1"], '{"a":1}')
    for number in range(2):
        mine = states(ledger, tmp_path / str(number))
        mine.start()
        mine.stop()
        assert mine.of("edge-1") == {"a": 1}
    again = states(ledger, tmp_path / "0", "w2")
    written = (tmp_path / "0" / "state" / "edge-1.json").stat().st_mtime_ns
    again.start()
    again.stop()
    assert again.of("edge-1") == {"a": 1}
    assert (tmp_path / "0" / "state" / "edge-1.json").stat().st_mtime_ns == written


def test_a_file_that_somebody_spoiled_is_written_anew(ledger: MemoryLedger, tmp_path: Path) -> None:
    """Nonsense in it ends no worker; leftovers of a killed one go."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "edge-1.json").write_text("[nonsense")
    (tmp_path / "state" / ".edge-1.json.abcd").write_text("half")
    ledger.synchronize(["edge-1"], '{"a":1}')
    mine = states(ledger, tmp_path)
    mine.start()
    mine.stop()
    assert mine.of("edge-1") == {"a": 1}
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == [".lock", "edge-1.json"]


def test_who_cannot_write_does_not_acknowledge_and_tries_again(ledger: MemoryLedger, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    ledger.synchronize(["edge-1"], '{"a":1}')
    mine = states(ledger, tmp_path)
    mine.start()
    assert acknowledged(ledger) == 0
    (tmp_path / "state").unlink()
    wait_until(lambda: acknowledged(ledger) == 1, description="it could write")
    assert mine.of("edge-1") == {"a": 1}
    mine.stop()


def test_one_device_that_cannot_be_written_does_not_keep_the_others_waiting(
    ledger: MemoryLedger, tmp_path: Path
) -> None:
    (tmp_path / "state" / "edge-1.json").mkdir(parents=True)
    ledger.synchronize(["edge-1", "edge-2"], '{"a":1}')
    mine = states(ledger, tmp_path)
    mine.start()
    wait_until(lambda: acknowledged(ledger, "edge-2") == 1, description="edge-2 has its document")
    assert acknowledged(ledger) == 0
    (tmp_path / "state" / "edge-1.json").rmdir()
    wait_until(lambda: acknowledged(ledger) == 1, description="it could write")
    mine.stop()
