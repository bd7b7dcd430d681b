"""The thread that scales a local cluster: what it sees of ledger and queues, and what it has changed."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from support.ledgers import Tried, in_group

from config.groups import DistributedSettings
from executor.cli.scale_file import read_scale, write_scale
from executor.ledger.memory import MemoryLedger
from executor.model.device import Announcement
from workers.autoscale import Autoscaler, Waiting


class House:
    """A cluster of which only the ledger, the scale file and the queues are there."""

    def __init__(self, folder: Path) -> None:
        self.now = 1_800_000_000_000
        self.folder = folder
        self.ledger = MemoryLedger(clock=lambda: self.now)
        self.queue = Waiting()
        settings = DistributedSettings(scale_min=1, scale_max=3, scale_depth=10)
        self.scaler = Autoscaler(self.ledger, self, folder, settings)
        write_scale(folder, {"edge-1": 1})
        self.ledger.register("w1", Announcement(devices=("edge-1",), concurrency=2))

    def waiting(self, devices: Iterable[str]) -> dict[str, Waiting]:
        return dict.fromkeys(devices, self.queue)

    def look(self, second: float = 100.0) -> int:
        self.scaler.look(second)
        return read_scale(self.folder)["edge-1"]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_the_age_of_what_comes_next_is_that_of_its_first_action_that_can_be_claimed(house: House) -> None:
    """Since its stage was opened, or since it was claimable again; a message for what is done has none."""
    tried = Tried(house.ledger).start(in_group("a b"))
    house.queue = Waiting(1, ("E1", 0, ("a",)))
    house.now += 1900
    assert house.look() == 1
    house.now += 200
    assert house.look() == 2
    write_scale(house.folder, {"edge-1": 1})
    tried.do("a")
    house.now += 60_000
    assert house.look(200.0) == 1


@pytest.mark.parametrize("first", [None, ("E9", 0, ("a",)), ("E1", 7, ("a",)), ("E1", 0, ())])
def test_messages_that_say_nothing_of_their_age_are_only_counted(
    house: House, first: tuple[str, int, tuple[str, ...]] | None
) -> None:
    """Of strangers, of executions that were forgotten."""
    Tried(house.ledger).start(in_group("a"))
    house.now += 60_000
    house.queue = Waiting(5, first)
    if first != ("E1", 7, ("a",)):
        assert house.look() == 1
    house.queue = Waiting(25, first)
    assert house.look() == 3


def test_who_scales_meanwhile_has_the_last_word(house: House) -> None:
    """A number that somebody wrote after we had looked stays."""
    house.queue = Waiting(25)

    class Person:
        def waiting(self, devices: Iterable[str]) -> dict[str, Waiting]:
            write_scale(house.folder, {"edge-1": 0})
            return house.waiting(devices)

    house.scaler._queues = Person()
    assert house.look() == 0


def test_a_drained_device_is_left_alone(house: House) -> None:
    """More processes would not take what waits there."""
    house.queue = Waiting(25)
    house.ledger.drain("edge-1", by="ann", reason="moved")
    assert house.look() == 1
    house.ledger.undrain("edge-1", by="ann")
    assert house.look() == 3


def test_without_bounds_there_is_no_thread(tmp_path: Path) -> None:
    """As it is by default."""
    import threading

    write_scale(tmp_path, {})
    scaler = Autoscaler(MemoryLedger(), House(tmp_path), tmp_path, DistributedSettings())
    scaler.start()
    assert "rex-autoscale" not in {thread.name for thread in threading.enumerate()}
    scaler.stop()
