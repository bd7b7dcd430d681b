"""The choice of a device: what it can, its health, what is related, its load."""

import time
from typing import Any

import pytest

from executor.distribution import Fleet
from executor.model.device import Announcement, Health, HealthState
from executor.model.errors import NoDevice
from executor.model.placement import Beside, Wanted

WAIT = Wanted(("wait",))
WRITE = Wanted(("file.write",))


def worker(*devices: str, actions: tuple[str, ...] = ("wait",), concurrency: int = 1, **more: Any) -> Announcement:
    return Announcement(devices=devices, actions=actions, concurrency=concurrency, **more)


def zones(**more: str) -> Fleet:
    """Three devices in two zones, one with a capability."""
    return Fleet(
        {
            "w1": worker("edge-1", labels={"zone": "eu"}),
            "w2": worker("edge-2", labels={"zone": "eu"}, capabilities=["gpu"]),
            "w3": worker("edge-3", labels={"zone": "us"}),
        },
        {},
        **more,
    )


def placed(fleet: Fleet, wanted: Wanted = WAIT, times: int = 1) -> list[str]:
    return [fleet.place(wanted).device for _ in range(times)]


def test_the_least_loaded_device_is_chosen_by_its_share() -> None:
    """Running actions count, and those that were given just now."""
    fleet = Fleet({"w1": worker("a", concurrency=4), "w2": worker("b"), "w3": worker("c")}, {"w2": 1})
    assert placed(fleet, times=6) == ["a", "c", "a", "a", "a", "a"]
    assert placed(fleet, times=3) == ["b", "c", "a"]


def test_what_waits_for_a_device_is_load_too() -> None:
    """A device with a long queue is no free one."""
    fleet = Fleet({"w1": worker("a"), "w2": worker("b")}, {"w2": 1}, queued={"a": 3})
    assert fleet.place(WAIT).device == "b"


def test_what_one_type_was_given_counts_for_the_others() -> None:
    """The load of a device is one, whatever it is asked for."""
    fleet = Fleet({"w1": worker("a", actions=("wait", "file.write")), "w2": worker("b")}, {})
    assert placed(fleet) == ["a"]
    assert placed(fleet, WRITE, 2) == ["a", "a"]
    assert placed(fleet, times=4) == ["b", "b", "b", "a"]


def test_the_choice_is_said_in_plain_words() -> None:
    """How many could do it, and how busy the chosen one is; or beside what."""
    fleet = Fleet({"w1": worker("a", concurrency=4), "w2": worker("b", concurrency=4, capabilities=["gpu"])}, {"w1": 1})
    assert fleet.place(WAIT).why == "least loaded of 2 that offer wait: 0 of 4 busy"
    gpu = Wanted(("wait",), None, ("gpu",))
    assert fleet.place(gpu).why == "the only one to offer wait and announce gpu: 1 of 4 busy"
    assert fleet.place(WAIT, [Beside("b", "configure, which it needs")]).why == "beside configure, which it needs"


def test_neighbours_of_a_sequence_stay_together() -> None:
    """However busy that device is: they run one after the other. Where it cannot, another does it."""
    fleet = Fleet({"w1": worker("a"), "w2": worker("b", actions=("file.write",))}, {})
    near = [Beside("a", "one, which comes before it")]
    assert [fleet.place(WAIT, near, in_turn=True).device for _ in range(3)] == ["a", "a", "a"]
    assert fleet.place(WRITE, near, in_turn=True).device == "b"
    with pytest.raises(NoDevice, match=r"no living device offers http.request: there are 2 living devices"):
        fleet.place(Wanted(("http.request",)), near)


def test_side_by_side_they_stay_with_what_they_need_as_long_as_there_is_room() -> None:
    """A device is not piled up with everything that is related to one action."""
    fleet = Fleet({"w1": worker("a", concurrency=2), "w2": worker("b", concurrency=2)}, {})
    near = [Beside("b", "configure, which it needs")]
    assert [fleet.place(WAIT, near).device for _ in range(4)] == ["b", "b", "a", "a"]


def test_a_healthy_device_goes_before_a_degraded_one_and_that_before_any_other() -> None:
    """However free the worse one is, and whatever is related to it; where nobody better can, it does it."""
    health = {
        "a": Health(state=HealthState.UNHEALTHY, reasons=("half of its actions fail",)),
        "b": Health(state=HealthState.DEGRADED, reasons=("its disk is 95 % full",)),
    }
    write = ("wait", "file.write")
    workers = {"w1": worker("a", actions=(*write, "x")), "w2": worker("b", actions=write), "w3": worker("c")}
    fleet = Fleet(workers, {"w3": 9}, health=health)
    assert fleet.place(WAIT, [Beside("a", "one, which it needs")]).device == "c"
    degraded = fleet.place(WRITE)
    assert degraded.device == "b"
    assert degraded.why.endswith("(degraded: its disk is 95 % full; no healthy one can)")
    assert fleet.place(Wanted(("x",))).device == "a"


def test_a_drained_device_gets_nothing() -> None:
    """And it is named where it alone could do it."""
    fleet = zones(drained={"edge-2"})  # type: ignore[arg-type]
    assert placed(fleet, times=3) == ["edge-1", "edge-3", "edge-1"]
    with pytest.raises(NoDevice, match=r"announces gpu: none announces any capability; edge-2 could, but is drained"):
        fleet.place(Wanted(("wait",), None, ("gpu",)))
    assert fleet.select({}, None, []) == ["edge-1", "edge-3"]


def test_an_agent_is_only_what_says_so() -> None:
    """An action for a kind of agent goes to no other device, however free that is."""
    fleet = Fleet({"w1": worker("a"), "w2": worker("b", "c", agents={"b": "coder"})}, {"w2": 5})
    coder = Wanted(("wait",), "coder")
    assert fleet.place(coder, [Beside("a", "x")]).device == "b"
    assert fleet.place(WAIT, [Beside("a", "x")]).device == "a"
    with pytest.raises(NoDevice, match=r"agent of kind 'tester': there is coder \(b\)\. .* --agent tester"):
        fleet.place(Wanted(("wait",), "tester"))


def test_a_device_offers_what_all_its_workers_offer() -> None:
    """Whichever of them gets the message can do it."""
    old, new = worker("a", labels={"zone": "eu"}), worker("a", actions=("wait", "file.write"), capabilities=["gpu"])
    fleet = Fleet({"w1": old, "w2": new, "w3": worker("b", agents={"b": "coder"}), "w4": worker("b")}, {})
    for wanted in (WRITE, Wanted(("wait",), None, ("gpu",)), Wanted(("wait",), None, ("zone=eu",))):
        with pytest.raises(NoDevice):
            fleet.place(wanted)
    with pytest.raises(NoDevice, match="there is no agent at all"):
        fleet.place(Wanted(("wait",), "coder"))


@pytest.mark.parametrize(
    ("capabilities", "said"),
    [
        (
            ["zone=mars"],
            "no living device has the label zone=mars: there are zone=eu (edge-1, edge-2), zone=us (edge-3). ",
        ),
        (["rack=7"], "label rack=7: there are zone=eu (edge-1, edge-2), zone=us (edge-3). "),
        (["tpu"], "no living device announces tpu: there is gpu (edge-2). "),
        (
            ["zone=us", "gpu"],
            "no living device has all of zone=us, gpu: edge-1 lacks gpu, zone=us, edge-2 lacks zone=us",
        ),
        (
            ["tpu", "zone=mars"],
            "zone=us (edge-3); no living device announces tpu: there is gpu (edge-2). Start a worker",
        ),
        (["tpu"], "such as `rex worker --device ID --capability tpu`"),
    ],
)
def test_what_nobody_has_is_said_with_what_there_is(capabilities: list[str], said: str) -> None:
    """For one device and for several."""
    with pytest.raises(NoDevice) as of_one:
        zones().place(Wanted(("wait",), None, tuple(capabilities)))
    with pytest.raises(NoDevice) as of_several:
        zones().select({}, None, capabilities)
    assert said in str(of_one.value)
    assert said in str(of_several.value)


def test_several_are_selected_by_labels_and_capabilities() -> None:
    """All of them, sorted."""
    assert zones().select({"zone": "eu"}, None, []) == ["edge-1", "edge-2"]
    assert zones().select({"zone": "eu"}, None, ["gpu"]) == ["edge-2"]
    assert zones().select({}, None, []) == ["edge-1", "edge-2", "edge-3"]
    with pytest.raises(NoDevice, match="there is no living device"):
        Fleet({"c": worker()}, {}).select({}, None, [])


def test_what_a_named_device_lacks() -> None:
    """Of one that does not live nothing is known."""
    assert zones().lacks("edge-2", ["gpu", "zone=us"]) == (
        "edge-2 does not announce zone=us: it announces gpu, zone=eu"
    )  # fmt: skip
    assert zones().lacks("edge-2", ["gpu"]) == ""
    assert zones().lacks("edge-9", ["gpu"]) == ""


def test_too_few_living_devices() -> None:
    """``distributed.min_devices``; a drained one does not count."""
    zones().prepare([], named=[], least=3, most=10)
    with pytest.raises(NoDevice, match=r"min_devices asks for: 2 \(edge-1, edge-3\) of 3"):
        zones(drained={"edge-2"}).prepare([], named=[], least=3, most=10)  # type: ignore[arg-type]


def test_an_execution_spreads_over_so_many_devices_and_no_more() -> None:
    """``distributed.max_devices``: what only one can do keeps its place among them."""
    workers = {f"w{n}": worker(f"d{n}") for n in range(8)} | {"x": worker("x", actions=("wait", "file.write"))}
    fleet = Fleet(workers, {"x": 5})
    fleet.prepare([WAIT, WRITE], named=["d7"], least=1, most=3)
    chosen = {fleet.place(WAIT).device for _ in range(60)} | {fleet.place(WRITE).device}
    assert chosen == {"x", "d7", "d0"}


def test_no_such_few_devices_can_do_it() -> None:
    """It is said what is asked of them, and which setting forbids more."""
    fleet = Fleet({"a": worker("a", actions=("one",)), "b": worker("b", actions=("two",))}, {})
    with pytest.raises(NoDevice, match=r"may use 1 device .* offer one; offer two\. .*distributed.max_devices"):
        fleet.prepare([Wanted(("one",)), Wanted(("two",))], named=[], least=1, most=1)


def test_many_actions_on_many_devices() -> None:
    """Flat per action: a look at the whole fleet for each would take minutes."""
    fleet = Fleet({f"w{number}": worker(f"d{number:03}") for number in range(500)}, {})
    began = time.monotonic()
    chosen = placed(fleet, times=10_000)
    took_s = time.monotonic() - began
    assert chosen == [f"d{number:03}" for number in range(500)] * 20
    assert took_s < 1.0, f"{took_s:.2f} s"  # 0.06 s on a quiet machine
