"""From a strategy to steps on devices: placement, fan-outs, and what is refused."""

import time
from typing import Any

import pytest
from support.sample_types import SAMPLES, Check

from config.settings import Settings
from executor.catalogue import MemoryCatalogue
from executor.distribution import Fleet
from executor.documents import load_text
from executor.model.device import Announcement
from executor.model.errors import NoDevice, StrategyInvalid
from executor.model.plan import FanOut, rules
from executor.planning import Planned, make_plan
from executor.validation import validate

TYPES = ["command", "http.check", "assert"]


class Reaching(Check):
    """What it checks is reached from everywhere."""

    uses = "reaching"

    def reach(self, parameters: dict[str, Any]) -> bool:
        return "url" in parameters


CATALOGUE = MemoryCatalogue(*(type(SAMPLES.get(name)) for name in SAMPLES.names()), Reaching)


def fleet(*devices: str, drained: frozenset[str] = frozenset(), **more: Any) -> Fleet:
    """Devices in zone eu, but for those called us-..."""
    workers = {
        name: Announcement(
            devices=(name,), actions=(*TYPES, "reaching"), concurrency=4,
            labels={"zone": "us" if name.startswith("us") else "eu"}, **more,
        )
        for name in devices
    }  # fmt: skip
    return Fleet(workers, {}, drained=drained)


def planned(
    text: str, devices: Fleet | None = None, *, head: str = "name: s\n", **distributed: Any
) -> Planned:  # fmt: skip
    settings = Settings(distributed=distributed)
    found = devices or fleet("edge-1", "edge-2", "us-1")
    return make_plan(validate(load_text(head + text, "s.yaml"), CATALOGUE), settings, CATALOGUE, lambda: found)


def command(name: str, more: str = "") -> str:
    return f"  - {{id: {name}, uses: command, with: {{run: x}}, compensate: none{', ' if more else ''}{more}}}\n"


def actions(*listed: str) -> str:
    return "actions:\n" + "".join(listed)


def shape(made: Planned) -> list[tuple[str, list[str]]]:
    return [(stage.kind, list(stage.steps)) for stage in made.plan.stages]


def problem_of(text: str, devices: Fleet | None = None, **more: Any) -> tuple[str, str]:
    with pytest.raises(StrategyInvalid) as caught:
        planned(text, devices, **more)
    (problem,) = caught.value.problems
    return problem.path, f"{problem.message}; {problem.remedy}"


# -- one device -------------------------------------------------------------------------------------------------------


def test_a_named_device_leaves_a_step_as_it_always_was() -> None:
    """No new field, so that a worker of the release before reads it; and the fleet is not asked for."""

    def nobody() -> Fleet:
        raise AssertionError("asked for")

    strategy = validate(load_text("name: s\n" + actions(command("a", "device: edge-1")), "s.yaml"), CATALOGUE)
    step = make_plan(strategy, Settings(), CATALOGUE, nobody).steps["a"]
    new = {"capabilities", "movable", "reach", "placed", "fan_out"}
    assert not new & set(step.model_dump(exclude_defaults=True))


def test_a_chosen_device_is_said_with_the_reason() -> None:
    """And with what another device needs to take over."""
    text = actions("  - {id: a, uses: reaching, with: {url: x}, capabilities: [zone=us]}\n", command("b"), command("c"))
    steps = planned(text).steps
    assert (steps["a"].device, steps["a"].placed) == (
        "us-1", "the only one to offer reaching and announce zone=us: 0 of 4 busy",
    )  # fmt: skip
    assert (steps["a"].movable, steps["a"].reach, steps["a"].capabilities) == (True, True, ("zone=us",))
    assert (steps["b"].device, steps["b"].placed) == ("us-1", "beside a, which comes before it")
    assert (steps["b"].movable, steps["b"].reach, steps["b"].capabilities) == (True, False, ())


@pytest.mark.parametrize(
    ("fallback", "reach"),
    [("{uses: reaching, with: {url: y}}", True), ("{uses: command, with: {run: x}, compensate: none}", False)],
)
def test_an_action_is_reached_from_elsewhere_where_its_fallback_is_too(fallback: str, reach: bool) -> None:
    """Which of the two has begun is not known when its device is lost."""
    text = f"  - {{id: a, uses: reaching, with: {{url: x}}, fallback: {fallback}}}\n"
    assert planned(actions(text)).steps["a"].reach is reach


def test_an_action_goes_where_what_it_needs_or_reads_was_done() -> None:
    """Before it goes beside its neighbour."""
    text = actions(
        command("a", "device: us-1"),
        command("b", "device: edge-2"),
        command("c", "needs: [a]"),
        command("d", "device: edge-1"),
        "  - {id: e, uses: command, with: {run: 'x ${{ actions.b.result.stdout }}'}, compensate: none}\n",
    )
    steps = planned(text).steps
    assert (steps["c"].device, steps["c"].placed) == ("us-1", "beside a, which it needs")
    assert (steps["e"].device, steps["e"].placed) == ("edge-2", "beside b, which it reads")


def test_its_device_has_all_types_that_it_may_come_to_need() -> None:
    """That of its fallback and those of its ways back."""
    workers = {
        "a": Announcement(devices=("a",), actions=("command",), concurrency=9),
        "b": Announcement(devices=("b",), actions=("command", "http.check")),
    }
    one = "  - {id: x, uses: command, with: {run: x}, compensate: {uses: http.check, with: {url: y}}}\n"
    other = (
        "  - {id: x, uses: command, with: {run: x}, compensate: none, fallback: {uses: http.check, with: {url: y}}}\n"
    )
    for text in (one, other):
        assert planned(actions(text), Fleet(workers, {})).steps["x"].device == "b"


def test_capabilities_of_a_named_device_are_held_against_it() -> None:
    """At once, as far as it lives."""
    text = actions(command("a", "device: edge-1, capabilities: [gpu]"))
    path, said = problem_of(text)
    assert path == "actions[0].capabilities"
    assert said.startswith("edge-1 does not announce gpu: it announces zone=eu")
    assert planned(text, fleet("edge-2")).devices == ["edge-1"]


def test_a_probe_is_placed_beside_the_last_action() -> None:
    """Unless it names a device."""
    probes = "rollback: {verify: [{uses: http.check, with: {url: x}}, {uses: http.check, with: {url: x}, device: d}]}\n"
    verify = planned(actions(command("a", "device: us-1")) + probes).plan.rollback_verify
    assert [(one.device, one.placed) for one in verify] == [("us-1", "beside the last action"), ("d", "")]


# -- settings ---------------------------------------------------------------------------------------------------------


def test_placement_spreads_over_max_devices() -> None:
    """A fan-out is not limited by it."""
    many = fleet(*(f"d{n}" for n in range(20)))
    text = actions(*(command(f"a{n}") for n in range(50)), command("all", "devices: all"))
    made = planned(text, many, head="name: s\nmodel: parallel\n", max_devices=3)
    assert len({step.device for step in made.steps.values() if step.movable}) == 3
    assert len(made.plan.fan_outs["all"]) == 20


def test_without_distribution_one_device_does_everything() -> None:
    """And a fan-out is refused with the name of the setting."""
    text = actions(*(command(f"a{n}") for n in range(9)))
    made = planned(text, head="name: s\nmodel: parallel\n", enabled=False)
    assert len(made.devices) == 1
    path, said = problem_of(actions(command("a"), command("b", "devices: [edge-1]")), enabled=False)
    assert path == "actions[1].devices"
    assert "distributed.enabled is false" in said


def test_with_too_few_devices_nothing_begins() -> None:
    """Whether the strategy names its devices or not."""
    for more in ("", "device: edge-1"):
        with pytest.raises(NoDevice, match=r"min_devices asks for: 3 \(edge-1, edge-2, us-1\) of 4"):
            planned(actions(command("a", more)), min_devices=4)


# -- fan-outs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "devices"),
    [
        ("devices: [us-1, edge-9]", ["us-1", "edge-9"]),
        ("devices: all", ["edge-1", "edge-2", "us-1"]),
        ("devices: {labels: {zone: eu}}", ["edge-1", "edge-2"]),
        ("devices: all, capabilities: [zone=us]", ["us-1"]),
    ],
)
def test_a_fan_out_has_an_instance_on_each_of_its_devices(said: str, devices: list[str]) -> None:
    """A list as written, whether they live or not; else those that live, sorted."""
    made = planned(actions(command("a", said)))
    assert shape(made) == [("group", [f"a@{device}" for device in devices])]
    assert [step.device for step in made.steps.values()] == devices
    assert made.plan.fan_outs == {"a": tuple(f"a@{device}" for device in devices)}
    assert not any(step.movable for step in made.steps.values())


def test_drained_devices_are_left_out() -> None:
    """Where nobody names them."""
    devices = fleet("edge-1", "edge-2", drained=frozenset({"edge-1"}))
    assert shape(planned(actions(command("a", "devices: all")), devices)) == [("group", ["a@edge-2"])]
    assert shape(planned(actions(command("a", "devices: [edge-1]")), devices)) == [("group", ["a@edge-1"])]


def test_a_sequence_is_cut_around_a_fan_out() -> None:
    """What stands before it has ended, and what comes after waits for all of them."""
    text = actions(command("a"), command("b"), command("c", "devices: [x, y]"), command("d"))
    assert shape(planned(text)) == [
        ("sequence", ["a", "b"]), ("group", ["c@x", "c@y"]), ("sequence", ["d"]),
    ]  # fmt: skip


def test_fan_outs_in_levels_and_phases() -> None:
    """Beside other actions of their level, and the needs of all their instances are those of the action."""
    text = actions(command("a", "devices: [x, y]"), command("b"), command("c", "devices: [x, y], needs: [a]"))
    made = planned(text, head="name: s\nmodel: parallel\n")
    assert shape(made) == [("group", ["a@x", "a@y", "b"]), ("group", ["c@x", "c@y"])]
    assert made.steps["c@y"].needs == (("a", False),)
    phases = "phases:\n  - name: one\n    " + actions(command("a", "devices: [x, y]")).replace("\n  -", "\n      -")
    assert shape(planned(phases, head="name: s\nmodel: phased\n")) == [("group", ["a@x", "a@y"])]


def test_a_fan_out_by_default_and_one_device_among_it() -> None:
    """An action that says where it runs takes no other place over."""
    defaults = "defaults: {devices: [x, y], max_unavailable: 1}\n"
    made = planned(actions(command("a"), command("b", "device: z"), command("c", "devices: [x]")) + defaults)
    assert list(made.steps) == ["a@x", "a@y", "b", "c@x"]
    assert made.steps["a@x"].fan_out == FanOut(of="a", at_once=1, bearable=3)
    assert made.steps["b"].fan_out is None


@pytest.mark.parametrize(
    ("said", "devices", "at_once"),
    [("2", 5, 2), ("25%", 10, 2), ("25%", 3, 1), ("100%", 4, 0), ("9", 4, 0), ("50%", 4, 2), ("1", 1, 0)],
)
def test_how_many_at_once(said: str, devices: int, at_once: int) -> None:
    """A share is rounded down, at least one; 0 stands for all."""
    names = ", ".join(f"d{n}" for n in range(devices))
    made = planned(actions(command("a", f"devices: [{names}], max_unavailable: {said}")), device_failure_threshold=1)
    assert made.steps["a@d0"].fan_out == FanOut(of="a", at_once=at_once, bearable=1)


@pytest.mark.parametrize(
    ("said", "path", "message"),
    [
        (
            "devices: {labels: {zone: mars}}", "actions[0].devices",
            "no living device has the label zone=mars: there are zone=eu (edge-1, edge-2), zone=us (us-1)",
        ),
        ("devices: all, capabilities: [gpu]", "actions[0].devices", "no living device announces gpu"),
        ("devices: all, agent: coder", "actions[0].devices", "no living device is an agent of kind 'coder'"),
        ("devices: [edge-1, us-1], capabilities: [zone=us]", "actions[0].capabilities",
         "edge-1 does not announce zone=us"),
    ],
)  # fmt: skip
def test_a_fan_out_for_nobody_is_refused(said: str, path: str, message: str) -> None:
    """At once, with what there is."""
    found, told = problem_of(actions(command("a", said)))
    assert found == path
    assert told.startswith(message)


def test_where_the_place_of_a_refused_fan_out_is() -> None:
    """In its phase, or in the defaults."""
    none = "devices: {labels: {zone: mars}}"
    phases = "phases:\n  - name: one\n    " + actions(command("a", none)).replace("\n  -", "\n      -")
    assert problem_of(phases, head="name: s\nmodel: phased\n")[0] == "phases[0].actions[0].devices"
    assert problem_of(actions(command("a")) + f"defaults: {{{none}}}\n")[0] == "defaults.devices"


def test_an_instance_that_is_taken_back_has_to_be_there() -> None:
    """Which devices `all` stands for is known only now."""
    text = actions(command("a", "devices: all")) + 'rollback: {mechanism: partial, actions: ["a@%s"]}\n'
    assert planned(text % "edge-1").plan.rollback_actions == ("a@edge-1",)
    path, said = problem_of(text % "edge-9")
    assert path == "rollback.actions[0]"
    assert said == "there is no 'a@edge-9'; there is a@edge-1, a@edge-2, a@us-1"


def test_the_rules_by_which_the_ledger_decides() -> None:
    """The window and what is bearable with each instance; a need and a reading of a fan-out are told apart."""
    text = actions(
        command("a", "devices: [x, y], max_unavailable: 1, on_failure: continue"),
        command("b", "devices: [x, y]"),
        "  - {id: c, uses: command, with: {run: 'x ${{ actions.a.status }}'}, compensate: none, needs: [a, b]}\n",
    )
    made = planned(text)
    found = rules(made.plan, made.steps)
    assert {name: found["a@x"].get(name) for name in ("of", "k", "b")} == {"of": "a", "k": 1, "b": 3}
    assert {name: found["b@y"].get(name) for name in ("of", "k", "b")} == {"of": "b", "k": None, "b": 3}
    assert found["c"]["n"] == [["a", False, True], ["b", False, True]]
    assert (found["c"].get("r"), found["c"]["rf"]) == (None, ["a"])


def test_ten_thousand_actions_and_five_hundred_devices() -> None:
    """Planned in seconds."""
    devices = fleet(*(f"d{n:03}" for n in range(500)))
    text = "name: s\nmodel: parallel\n" + actions(
        *(command(f"a{n}") for n in range(9_999)), command("all", "devices: all, max_unavailable: 10%, needs: [a1]")
    )
    strategy = validate(load_text(text, "s.yaml"), CATALOGUE)
    began = time.process_time()
    made = make_plan(strategy, Settings(distributed={"max_devices": 500}), CATALOGUE, lambda: devices)
    took_s = time.process_time() - began
    assert len(made.steps) == 10_499
    assert len({step.device for step in made.steps.values() if step.movable}) == 500
    assert took_s < 10, f"{took_s:.2f} s"


def test_more_steps_than_one_plan_takes_are_refused() -> None:
    """A fan-out counts with each of its devices."""
    devices = fleet(*(f"d{n:03}" for n in range(500)))
    path, said = problem_of(actions(*(command(f"a{n}", "devices: all") for n in range(41))), devices)
    assert path == "actions"
    assert said.startswith("on their devices the actions are 20,500 steps; at most 20,000 are possible")
