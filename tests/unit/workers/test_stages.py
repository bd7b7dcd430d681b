"""What is done for open stages whose devices are lost: on a ledger in memory, with clocks that the test moves."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

import pytest
from support.ledgers import WRONG, Tried, in_group, in_sequence, step

from executor.ledger.memory import MemoryLedger
from executor.model.device import Announcement
from executor.model.plan import Step, message_id
from workers import stages as module
from workers.letters import Sought
from workers.stages import CLAIMABLE_S, GRACE_S, StageWatch


class World:
    """A ledger, its clocks, and a watch that looks when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ms = 1_800_000_000_000
        self.ledger = MemoryLedger(clock=lambda: self.now_ms)
        self.sought: list[Sought] = []
        self.lost: set[str] = set()
        self.again: list[list[str]] = []
        self.placings = 0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now_ms / 1000)
        self.watch = StageWatch(self.ledger, self, self.publish, self.placing, timedelta(seconds=60))  # type: ignore[arg-type]

    def placing(self) -> Any:
        self.placings += 1
        devices = sorted(device for worker in self.ledger.workers().values() for device in worker.devices)

        def place(steps: Sequence[Step]) -> tuple[str, str]:
            return devices[-1], "it is there"

        return place

    def publish(self, execution: str, generation: int, stage: int, names: list[str]) -> None:
        self.again.append(names)

    def lost_messages(self, sought: Collection[Sought]) -> set[Sought]:
        return {one for one in sought if one.queue in self.lost}

    def serve(self, device: str) -> None:
        self.ledger.register(f"w-{device}", Announcement(devices=(device,)))

    def pass_s(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)


class Searched(World):
    """Remembers where messages were looked for."""

    def lost_of(self, sought: Collection[Sought]) -> set[Sought]:
        self.sought += sought
        return self.lost_messages(sought)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Searched(monkeypatch)
    made.watch._messages = type("Letters", (), {"lost": staticmethod(lambda sought, owners: made.lost_of(sought))})()
    made.serve("edge-2")
    return made


def test_what_was_broken_off_goes_elsewhere_at_once_and_the_rest_after_a_moment(world: Any) -> None:
    """The keeper of a killed worker may start it again meanwhile."""
    steps = [step("a", movable=True, idempotent=True), step("b", movable=True), step("c")]
    tried = Tried(world.ledger).start(in_group(steps))
    tried.claim("a")
    world.ledger.expire("w1", ("E1", 0, "a"), sure=True, error=WRONG)
    world.watch.look(lost=["edge-1"])
    assert tried.row("a")["at"] == "edge-2"
    assert "at" not in tried.row("b")
    assert "unserved" in tried.row("c")
    world.pass_s(GRACE_S / 2)
    world.watch.look()
    assert "at" not in tried.row("b")
    world.pass_s(GRACE_S)
    world.watch.look()
    assert tried.row("b")["at"] == "edge-2"
    assert "at" not in tried.row("c")


def test_a_device_that_is_back_in_time_keeps_its_work(world: Any) -> None:
    tried = Tried(world.ledger).start(in_group([step("a", movable=True)]))
    world.watch.look()
    world.serve("edge-1")
    world.pass_s(GRACE_S * 3)
    world.watch.look()
    assert "at" not in tried.row("a")
    # lost again, it gets the same time again
    world.ledger.leave("w-edge-1")
    world.watch.look()
    assert "at" not in tried.row("a")
    world.pass_s(GRACE_S + 0.1)
    world.watch.look()
    assert tried.row("a")["at"] == "edge-2"


def test_a_lost_device_is_seen_in_a_wide_stage_that_was_just_looked_at(world: Any) -> None:
    steps = [step(f"a{n}", movable=True, idempotent=True) for n in range(1000)]
    tried = Tried(world.ledger).start(in_group([*steps, step("b", device="edge-9")]))
    world.serve("edge-1")
    world.watch.look()
    world.pass_s(1)
    world.watch.look()
    tried.claim("a7")
    world.ledger.leave("w-edge-1")
    world.ledger.expire("w1", ("E1", 0, "a7"), sure=True, error=WRONG)
    world.pass_s(0.2)
    world.watch.look()
    assert "at" not in tried.row("a7")
    world.watch.look(lost=["edge-1"])
    assert tried.row("a7")["at"] == "edge-2"


def test_the_load_of_the_fleet_is_asked_for_only_where_something_moves(world: Any) -> None:
    Tried(world.ledger).start(in_group([step("a")]))
    world.watch.look()
    world.pass_s(2)
    world.watch.look()
    assert world.placings == 0


def test_a_moved_sequence_is_followed_to_where_it_is(world: Any) -> None:
    """When its second device is lost too, it moves on."""
    tried = Tried(world.ledger).start(in_sequence([step("a", movable=True), step("b", movable=True)]))
    world.watch.look()
    world.pass_s(1)
    world.watch.look()
    assert [tried.row(name)["at"] for name in "ab"] == ["edge-2", "edge-2"]
    tried.do("a")
    world.serve("edge-3")
    world.ledger.leave("w-edge-2")
    world.watch.look()
    world.pass_s(1)
    world.watch.look()
    assert (tried.row("a")["at"], tried.row("b")["at"]) == ("edge-2", "edge-3")


def test_its_lost_message_is_looked_for_where_it_is_now(world: Any) -> None:
    """One that still lies in the queue of the lost device says nothing."""
    Tried(world.ledger).start(in_group([step("a", movable=True)]))
    world.watch.look()
    world.pass_s(1)
    world.watch.look()
    world.pass_s(11)
    world.watch.look()
    world.lost = {"device.edge-2"}
    world.pass_s(11)
    world.watch.look()
    assert {one.queue for one in world.sought} == {"device.edge-2"}
    assert all(message_id("E1", 0, 0, "a") in one.ids for one in world.sought)
    assert world.again == [["a"]]


def test_a_drained_device_gives_its_waiting_work_away_at_once(world: Any) -> None:
    world.serve("edge-1")
    tried = Tried(world.ledger).start(in_group([step("a", movable=True), step("b")]))
    world.ledger._store.drained["edge-1"] = '{"by": "ann", "reason": "new disks"}'
    world.watch.look()
    assert tried.row("a")["at"] == "edge-2"
    (told,) = [e["data"]["error"] for e in world.ledger.events("E1") if e["event"] == "execution:action:waiting"]
    assert told["message"].startswith("device 'edge-1' is drained by ann: new disks, which b needs; waiting as long as")
    assert told["message"].endswith("`rex drain edge-1 --undo` gives it work again")
    assert "distributed:device:failed" not in tried.events()


def test_what_is_bound_to_a_drained_device_waits_until_that_ends(world: Any) -> None:
    """Longer than for a device without a worker, and that is said once; the execution's own time bounds it."""
    world.serve("edge-1")
    tried = Tried(world.ledger).start(in_group([step("b")]))
    world.ledger.drain("edge-1", by="ann")
    for _ in range(3):
        world.watch.look()
        world.pass_s(61)
    assert tried.status("b") in {"", "ready"}
    assert tried.events().count("execution:action:waiting") == 1
    world.ledger.undrain("edge-1", by="ann")
    tried.claim("b")


def test_a_drained_device_that_dies_is_waited_for_from_then_on(world: Any) -> None:
    """Not from when it was drained: its keeper may start a worker again."""
    world.serve("edge-1")
    tried = Tried(world.ledger).start(in_group([step("b")]))
    world.ledger.drain("edge-1", by="ann")
    world.watch.look()
    world.pass_s(300)
    world.watch.look()
    world.ledger.leave("w-edge-1")
    world.pass_s(59)
    world.watch.look()
    assert tried.status("b") in {"", "ready"}
    world.pass_s(2)
    world.watch.look()
    assert tried.status("b") == "failed"


def test_a_worker_that_ends_in_order_keeps_what_it_has_begun(world: Any) -> None:
    """As long as it works: only what it has not begun goes elsewhere, and nothing that waits for it is given up."""
    world.serve("edge-1")
    begun = step("a", movable=True, idempotent=True)
    tried = Tried(world.ledger).start(in_group([begun, step("b"), step("c", movable=True)]))
    tried.claim("a", holder="w-edge-1")
    world.ledger.expire("w-edge-1", ("E1", 0, "a"), sure=True, error=WRONG)
    world.ledger.retreat("w-edge-1")
    for _ in range(3):
        world.watch.look(lost=["edge-1"])
        world.pass_s(61)
    assert "at" not in tried.row("a")
    assert tried.row("c")["at"] == "edge-2"
    assert tried.status("b") in {"", "ready"}
    (told,) = [e["data"]["error"] for e in world.ledger.events("E1") if e["event"] == "execution:action:waiting"]
    assert told["message"].startswith("the worker of device 'edge-1' is about to end, which b needs; waiting as long")
    # now it is gone, and counts as lost
    world.ledger.leave("w-edge-1")
    world.watch.look(lost=["edge-1"])
    assert tried.row("a")["at"] == "edge-2"


def test_a_look_at_many_stages_is_cut_and_goes_on_with_those_that_it_left_out(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile nobody watches whether workers live."""
    world.serve("edge-1")
    for number in range(6):
        Tried(world.ledger, f"E{number}").start(in_group("a"))
    world.pass_s(CLAIMABLE_S + 1)
    looked: list[str] = []
    read = world.ledger.actions

    def slowly(execution: str, *arguments: Any) -> Any:
        looked.append(execution)
        world.pass_s(0.2)
        return read(execution, *arguments)

    monkeypatch.setattr(world.ledger, "actions", slowly)
    world.watch.look()
    assert len(looked) == 3
    world.watch.look()
    assert sorted(looked) == [f"E{number}" for number in range(6)]
