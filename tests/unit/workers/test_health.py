"""What the watch over devices writes, and when."""

from typing import Any

import pytest

from config.settings import Settings
from executor.ledger.memory import MemoryLedger
from executor.model.device import Announcement, Health, Vitals
from workers import health as watching
from workers.health import HealthWatch


class Watched:
    """A watch over a ledger in memory, under a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.now = 1000.0
        self.ledger = MemoryLedger(clock=lambda: round(self.now * 1000))
        monkeypatch.setattr(watching.time, "monotonic", lambda: self.now)
        self.settings = Settings.model_validate(settings)
        self.watch = HealthWatch(self.ledger, self.settings)
        self.number = 0
        self.written: list[str] = []
        judge = self.ledger.judge

        def listening(changes: Any) -> set[str]:
            self.written += sorted(changes)
            return judge(changes)

        self.ledger.judge = listening  # type: ignore[method-assign]

    def serve(self, name: str, *devices: str) -> None:
        self.ledger.register(name, Announcement(devices=devices, protocol=2, host=f"host of {name}"))

    def tell(self, name: str, **vitals: Any) -> None:
        self.number += 1
        self.ledger.renew(name, [], Vitals(number=self.number, **vitals))

    def look(self, seconds: float = 5.0, **silent_s: float) -> None:
        self.now += seconds
        self.watch.look(silent_s)

    def states(self) -> dict[str, str]:
        return {device: health.state.value for device, health in self.ledger.health().items()}

    def told(self) -> list[str]:
        events = self.ledger.fleet_events()
        return [f"{one['event']} {one['data'].get('device', '')}" for one in events if "topology" not in one["event"]]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def test_a_device_becomes_available_silent_and_available_again(watched: Watched) -> None:
    """Two looks at a silence make it unhealthy, two at its end healthy; each change is written and told once."""
    watched.serve("w1", "edge-1", "edge-2")
    watched.look()
    assert watched.states() == {"edge-1": "healthy", "edge-2": "healthy"}
    watched.look(0.5, w1=1.2)
    assert watched.states()["edge-1"] == "healthy"
    watched.look(0.5, w1=1.7)
    assert watched.states()["edge-1"] == "unhealthy"
    watched.look(0.5)
    watched.look(0.5)
    assert watched.states()["edge-1"] == "healthy"
    available, unavailable = "distributed:device:available", "distributed:device:unavailable"
    assert watched.told() == [f"{what} {device}" for what in (available, unavailable, available)
                              for device in ("edge-1", "edge-2")]  # fmt: skip
    assert len(watched.written) == 6


def test_nothing_is_written_while_nothing_changes(watched: Watched) -> None:
    """However often it looks; and a look that is not due does nothing."""
    watched.serve("w1", "edge-1")
    watched.look()
    for _ in range(50):
        watched.tell("w1", cpu_percent=30)
        watched.look()
    watched.look(0.0, w1=99)
    watched.look(0.0, w1=99)
    assert watched.written == ["edge-1"]


def test_a_resource_that_is_used_up_is_told_and_its_numbers_follow(watched: Watched) -> None:
    """Three looks in a row; numbers are written anew now and then, without an event."""
    watched.serve("w1", "edge-1")
    watched.look()
    for percent in (95, 96, 97, 98):
        watched.tell("w1", disk_percent=percent)
        watched.look(6)
    (health,) = watched.ledger.health().values()
    assert (health.state, health.reasons) == ("degraded", ("resource: disk 98 % full (threshold 90 %)",))
    assert watched.told() == ["distributed:device:available edge-1", "system:resource:depleted edge-1"]
    for _ in range(3):
        watched.tell("w1", disk_percent=20)
        watched.look(6)
    assert watched.states() == {"edge-1": "healthy"}
    assert watched.told()[2:] == ["system:resource:available edge-1"]


def test_a_worker_that_stops_saying_how_it_fares_is_degraded(watched: Watched) -> None:
    """Its renewals go on, and its last word is old: a disk that does not answer holds up the gauge alone."""
    watched.serve("w1", "edge-1")
    watched.tell("w1")
    watched.look()
    for _ in range(6):
        watched.look()
    (health,) = watched.ledger.health().values()
    assert (health.state, health.reasons[0]) == ("degraded", "performance: it has not said how it fares for 30 s")


def test_a_device_without_a_worker_is_unknown(watched: Watched) -> None:
    """When the last has left; another watch that begins later finds it out from what is written."""
    watched.serve("w1", "edge-1")
    watched.serve("w2", "edge-1")
    watched.look()
    watched.ledger.leave("w1")
    watched.look()
    assert watched.states() == {"edge-1": "healthy"}
    watched.ledger.leave("w2")
    watched.watch = HealthWatch(watched.ledger, watched.settings)
    watched.look()
    assert watched.states() == {"edge-1": "unknown"}
    assert watched.told()[-1] == "distributed:device:unavailable edge-1"


def test_two_that_watch_write_each_change_once(watched: Watched) -> None:
    """The second finds that it was written, reads what is there, and goes on from that."""
    other = HealthWatch(watched.ledger, watched.settings)
    watched.serve("w1", "edge-1")
    watched.look()
    other.look({})
    watched.ledger.leave("w1")
    watched.look()
    watched.now += 5
    other.look({})
    watched.serve("w1", "edge-1")
    watched.now += 5
    other.look({})
    watched.look()
    watched.look()
    assert [one.rpartition(":")[2] for one in watched.told()] == [
        "available edge-1", "unavailable edge-1", "available edge-1"
    ]  # fmt: skip


def test_a_device_that_is_left_for_long_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the retention time; then nothing is thought of it either."""
    watched = Watched(monkeypatch, execution={"retention": "1h"})
    watched.serve("w1", "edge-1")
    watched.look()
    watched.ledger.leave("w1")
    for _ in range(3):
        watched.look(1900)
    assert (watched.ledger.owners(), watched.ledger.health(), watched.ledger.devices()) == ({}, {}, [])
    watched.serve("w1", "edge-1")
    watched.look()
    assert watched.states() == {"edge-1": "healthy"}


def test_what_a_stranger_wrote_of_a_device_is_overwritten(watched: Watched) -> None:
    """And said to be unknown where there is no such device."""
    watched.ledger._store.health["edge-1"] = "{nonsense"
    watched.ledger._store.health["edge-9"] = Health(state="healthy").model_dump_json()
    watched.serve("w1", "edge-1")
    watched.look()
    assert watched.states() == {"edge-1": "healthy", "edge-9": "unknown"}
