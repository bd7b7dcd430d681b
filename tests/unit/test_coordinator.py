"""`DistributedCoordinator`: which device does what, what became of it, and what becomes of a lost device's share."""

from typing import Any

import pytest
from support.ledgers import WRONG, Tried, step

from config.settings import Settings
from executor.catalogue import InstalledCatalogue
from executor.distribution import Context, DistributedCoordinator, Distribution
from executor.distribution.failing import fates_of
from executor.distribution.failover import Place
from executor.documents import load_data
from executor.ledger.memory import MemoryLedger
from executor.model.device import Announcement
from executor.model.errors import NoDevice, UnknownExecution
from executor.model.execution import Claimed
from executor.model.plan import group, sequence
from executor.resolution import ResolutionExecutor
from executor.validation import validate

ACTIONS = [
    {"id": "here", "uses": "wait", "with": {"for": "1ms"}, "device": "edge-1"},
    {"id": "there", "uses": "wait", "with": {"for": "1ms"}, "device": "edge-2"},
    {"id": "also", "uses": "wait", "with": {"for": "1ms"}, "device": "edge-1"},
]


class House:
    """A ledger with two served devices, and what works on it."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger()
        for device in ("edge-1", "edge-2"):
            told = Announcement(devices=(device,), actions=("wait",), concurrency=4)
            self.ledger.register(f"w-{device}", told)
        self.catalogue = InstalledCatalogue()
        self.coordinator = DistributedCoordinator(self.ledger, Settings())
        self.executor = ResolutionExecutor(self.ledger, self.catalogue, Settings())

    def distribution(self, *actions: dict[str, Any], devices: tuple[str, ...] = ("edge-1", "edge-2")) -> Distribution:
        strategy = validate(load_data({"name": "s", "model": "parallel", "actions": list(actions)}), self.catalogue)
        planned = self.executor.create_execution_plan(strategy)
        return self.coordinator.distribute_execution(strategy, planned, devices)

    def run(self, distribution: Distribution) -> Tried:
        tried = Tried(self.ledger)
        tried.submit()
        handed = self.coordinator.coordinate_execution(distribution, Context("E1", {"a": 1}, {}))
        assert handed["created"]
        return tried


@pytest.fixture
def house() -> House:
    return House()


def test_who_does_what_and_why(house: House) -> None:
    """Named devices, one that was chosen, and one that nobody serves."""
    chosen = {"id": "any", "uses": "wait", "with": {"for": "1ms"}}
    lost = {"id": "lost", "uses": "wait", "with": {"for": "1ms"}, "device": "edge-9"}
    made = house.distribution(*ACTIONS, chosen, lost)
    assert [share.action for share in made.shares] == ["here", "there", "also", "any", "lost"]
    assert {name: share for name, share in made.devices.items() if name != "edge-9"}.keys() == {"edge-1", "edge-2"}
    assert made.unserved == ("edge-9",)
    assert made.shares[0].why == "its strategy names the device"


def test_handing_over_twice_is_handing_over_once(house: House) -> None:
    made = house.distribution(*ACTIONS)
    tried = house.run(made)
    assert tried.state == "running"
    again = house.coordinator.coordinate_execution(made, Context("E1", {}, {}))
    assert again == {
        "execution_id": "E1", "created": False, "devices": {"edge-1": ["here", "also"], "edge-2": ["there"]}
    }  # fmt: skip
    assert tried.field("inputs") == '{"a": 1}'


def test_results_by_device(house: House) -> None:
    """While it runs and when it has ended; of some devices, and of one that had nothing to do."""
    tried = house.run(house.distribution(*ACTIONS))
    tried.settle(tried.claim("here"), effect="completed", result={"n": 1})
    tried.settle(tried.claim("there"), "failed", effect="unknown")
    found = house.coordinator.collect_results(None, "E1")
    assert found["edge-1"]["here"] == {
        "status": "succeeded", "result": {"n": 1}, "error": None, "attempts": 1, "undo": None, "effect": "completed"
    }  # fmt: skip
    assert (found["edge-1"]["also"]["status"], found["edge-1"]["also"]["effect"]) == ("pending", "none")
    assert found["edge-2"]["there"]["error"] == WRONG
    assert house.coordinator.collect_results(["edge-2", "edge-7"], "E1") == {"edge-2": found["edge-2"], "edge-7": {}}
    with pytest.raises(UnknownExecution):
        house.coordinator.collect_results(None, "E2")


def test_a_lost_device(house: House) -> None:
    """What has ended is left out, what is bound waits, and what ran and may not run twice is for a person."""
    acts = [*ACTIONS, {"id": "ended", "uses": "wait", "with": {"for": "1ms"}, "device": "edge-1"}]
    made = house.distribution(*acts)
    tried = house.run(made)
    tried.do("ended")
    assert isinstance(tried.claim("here"), Claimed)
    fates = house.coordinator.handle_device_failure("edge-1", made, Context("E1", {}, {}))
    assert {name: (fate.becomes, fate.device) for name, fate in fates.items()} == {
        "here": ("probed", "edge-1"), "also": ("waits", "edge-1")
    }  # fmt: skip


def nobody(_: object) -> tuple[str, str]:
    raise NoDevice("none can")


def other(_: object) -> tuple[str, str]:
    return "edge-2", "it is free"


@pytest.mark.parametrize(
    ("about", "row", "place", "becomes"),
    [
        ({}, {"status": "succeeded"}, other, None),
        ({"movable": True}, {}, other, ("moves", "edge-2")),
        ({"movable": True}, {}, nobody, ("waits", "edge-1")),
        ({}, {}, other, ("waits", "edge-1")),
        ({"movable": True}, {"attempt": "1"}, other, ("waits", "edge-1")),
        ({"movable": True, "reach": True}, {"attempt": "1"}, other, ("moves", "edge-2")),
        ({"movable": True, "idempotent": True}, {"attempt": "1", "status": "running"}, other, ("probed", "edge-2")),
        ({"movable": True, "idempotent": True}, {"attempt": "1", "status": "running"}, nobody, ("probed", "edge-1")),
        ({"idempotent": True}, {"attempt": "1", "status": "running"}, other, ("probed", "edge-1")),
        ({}, {"attempt": "1", "status": "running"}, other, ("listed", "edge-1")),
        ({"movable": True}, {"attempt": "1", "status": "running"}, other, ("listed", "edge-1")),
    ],
)
def test_what_becomes_of_one_action(
    about: dict[str, Any], row: dict[str, str], place: Place, becomes: tuple[str, str] | None
) -> None:
    """By the rules of failover, and in every state that an action can be in."""
    one = step("a", **about)
    found = fates_of(group([one]), {"a": one}, {"a": row}, "edge-1", place)
    assert {name: (fate.becomes, fate.device) for name, fate in found.items()} == ({"a": becomes} if becomes else {})


def test_of_a_sequence_what_comes_after_waits_with_its_head() -> None:
    """And where the head moves, what may move goes with it."""
    bound = {name: step(name, movable=name != "a") for name in "abc"}
    (stage,) = sequence(list(bound.values()), length=25, fuse=True)
    assert {fate.becomes for fate in fates_of(stage, bound, {}, "edge-1", other).values()} == {"waits"}
    free = {name: step(name, movable=True) for name in "abc"}
    (stage,) = sequence(list(free.values()), length=25, fuse=True)
    moved = fates_of(stage, free, {"a": {"status": "succeeded"}}, "edge-1", other)
    assert {name: (fate.becomes, fate.device) for name, fate in moved.items()} == dict.fromkeys(
        "bc", ("moves", "edge-2")
    )


def test_state_goes_to_the_devices(house: House) -> None:
    """As everywhere; how long is waited is a setting, unless it is said."""
    told = house.coordinator.synchronize_state(["edge-1"], {"a": 1}, timeout_s=0)
    assert told["missing"] == ["edge-1"]
    house.ledger.acknowledge("w-edge-1", "edge-1", 1)
    assert house.coordinator.synchronize_state(["edge-1"], {"a": 1})["complete"]
