"""What runs on several devices: how it is read, shown, reported, and taken back on one of them."""

from typing import Any

import pytest
from celery import Celery
from support.ledgers import Tried, in_group, step

from config.settings import Settings
from executor.canvas import stage_canvas
from executor.cli.strategies import devices_of
from executor.documents import load_text
from executor.ledger.memory import MemoryLedger
from executor.model.errors import StrategyInvalid
from executor.model.execution import readable_all
from executor.model.fan_out import action_of, device_of, expanded, fan_outs
from executor.model.plan import Call, FanOut, Plan, Step, WayBack
from executor.model.rollback import RollbackRequest
from executor.model.strategy import Strategy
from executor.monitoring import MonitoringSystem
from executor.report import report
from executor.rollbacks import for_each_device
from rollback.case import Case
from rollback.manager import RollbackManager
from rollback.preview import needs_of

WAY = WayBack(rule="completed", call=Call(uses="command"), timeout_s=5.0)


def instances(of: str, *devices: str, at_once: int = 0, **more: Any) -> list[Step]:
    shared = FanOut(of=of, at_once=at_once, bearable=3)
    return [step(f"{of}@{one}", device=one, fan_out=shared, way_back=WAY, **more) for one in devices]


def test_the_parts_of_an_id() -> None:
    """Also of a step that takes the fallback of an instance back."""
    assert (action_of("r@d-1"), device_of("r@d-1")) == ("r", "d-1")
    assert (action_of("r@d-1/fallback"), device_of("r@d-1/fallback")) == ("r", "d-1")
    assert (action_of("snapshot/1"), device_of("snapshot/1")) == ("snapshot/1", "")
    known = fan_outs(["a", "r@d1", "b", "r@d2"])
    assert known == {"r": ("r@d1", "r@d2")}
    assert expanded(["r@d2", "r", "a"], known) == ["r@d2", "r@d1", "a"]


@pytest.mark.parametrize(
    ("became", "status"),
    [
        ("succeeded succeeded", "succeeded"),
        ("succeeded skipped", "succeeded"),
        ("skipped skipped", "skipped"),
        ("cancelled succeeded", "cancelled"),
        ("cancelled timed_out failed", "failed"),
        ("timed_out cancelled", "timed_out"),
        ("succeeded running", "running"),
        ("succeeded ", "pending"),
    ],
)
def test_the_status_of_a_fan_out_is_the_worst(became: str, status: str) -> None:
    """One that was skipped takes nothing from what the others did."""
    rows = [[f"r@d{n}", one, "", "", "1"] for n, one in enumerate(became.split(" "))]
    assert readable_all(rows)["r"]["status"] == status


def test_a_fan_out_is_put_together() -> None:
    """By device, with the first error and the most attempts; other actions stay what they are."""
    rows = [
        ["a", "succeeded", '{"result": 5}', "d9", "1"],
        ["r@d1", "succeeded", '{"result": {"n": 1}}', "d1", "3"],
        ["r@d2", "failed", '{"error": {"message": "x"}}', "d2", "2"],
        ["r@d3", "failed", '{"error": {"message": "y"}}', "d3", "1"],
    ]
    assert readable_all(rows) == {
        "a": {"status": "succeeded", "result": 5, "error": None, "device": "d9", "attempts": 1},
        "r": {
            "status": "failed", "result": {"d1": {"n": 1}, "d2": None, "d3": None}, "error": {"message": "x"},
            "device": None, "attempts": 3,
        },
    }  # fmt: skip


def test_flower_shows_the_action_beside_its_device() -> None:
    """And not the device twice."""
    stage, steps = in_group(instances("restart", "edge-1"))
    forward = Plan(stages=(stage,), strategy="web")
    (message,) = stage_canvas(Celery(), forward, "E1", 0, 0).tasks
    assert message.options["shadow"] == "web / restart @ edge-1"
    (undo,) = stage_canvas(Celery(), forward, "E1", 1, 0).tasks
    assert undo.options["shadow"] == "web / undo restart @ edge-1"
    assert message.args == ("E1", 0, [steps[0].id])


# -- reports and conditions -------------------------------------------------------------------------------------------


def half_done() -> Tried:
    tried = Tried(MemoryLedger())
    tried.start(in_group([*instances("r", "d1", "d2", "d3", on_failure="continue"), step("a")]))
    tried.settle(tried.claim("r@d1"), result=1, effect="completed")
    tried.do("r@d2", status="failed")
    return tried


def test_the_report_has_each_instance_and_how_all_of_them_are() -> None:
    """The whole is only there where something fans out."""
    told = report(half_done().ledger, "E1")
    assert list(told["actions"]) == ["r@d1", "r@d2", "r@d3", "a"]
    assert told["fan_outs"] == {
        "r": {
            "status": "failed", "devices": ["d1", "d2", "d3"],
            "ended": {"succeeded": 1, "failed": 1, "pending": 1}, "bearable": 3,
        }
    }  # fmt: skip
    assert "fan_outs" not in report(Tried(MemoryLedger()).start(in_group("a")).ledger, "E1")


def test_conditions_read_it_as_a_whole() -> None:
    """Those of a phase, and those at the end."""
    tried = half_done()
    plan = tried.ledger.plan("E1", 0)
    assert plan is not None
    sources = ["actions.r.status == 'failed'", "actions.r.result['d1'] == 1 && actions.r.result['d2'] == null"]
    checked = MonitoringSystem(tried.ledger).check_success_criteria(
        "E1", tried.ledger.head("E1"), sources, plan.fan_outs
    )
    assert [one["met"] for one in checked] == [True, True], checked


# -- taking back ------------------------------------------------------------------------------------------------------


def ended(*stages: Any, done: str) -> Tried:
    """An execution whose named actions were done, and that failed then."""
    tried = Tried(MemoryLedger()).start(*stages, in_group([step("last")]))
    for number, (_, steps) in enumerate(stages):
        for one in steps:
            status, effect = ("succeeded", "completed") if one.id in done.split() else ("skipped", "none")
            tried.settle(tried.claim(one.id), status, effect=effect)
        tried.ledger.advance("E1", 0, number)
    tried.do("last", status="failed")
    return tried


def case(tried: Tried, **request: Any) -> Case:
    forward = tried.ledger.plan("E1", 0)
    assert forward is not None
    asked = RollbackRequest(**request) if request else None
    return Case(tried.ledger, Settings(), "E1", tried.ledger.head("E1"), forward=forward, request=asked)


def test_what_is_named_may_be_a_fan_out_or_one_of_its_instances() -> None:
    """By a person, or by the strategy."""
    tried = ended(in_group(instances("r", "d1", "d2")), done="r@d1 r@d2")
    assert case(tried, actions=("r",)).named == {"r@d1", "r@d2"}
    assert case(tried, actions=("r@d2",)).named == {"r@d2"}
    chosen, way_back = case(tried, actions=("r@d2",)).determine()
    assert (list(way_back.steps), chosen.kept) == (["r@d2"], ("r@d1",))
    assert way_back.steps["r@d2"].device == "d2"


def test_the_way_back_rolls_and_has_the_time_for_it() -> None:
    """One device after the other takes as long as all of them."""
    done = "r@d1 r@d2 r@d3"
    rolling = case(ended(in_group(instances("r", "d1", "d2", "d3", at_once=1)), done=done))
    way_back = rolling.way_back("compensate")
    assert {one.fan_out for one in way_back.steps.values()} == {FanOut(of="r", at_once=1, bearable=3)}
    assert rolling.timeout_s(way_back) == 60 + 15
    at_once = case(ended(in_group(instances("r", "d1", "d2", "d3")), done=done))
    assert {one.fan_out for one in at_once.way_back("compensate").steps.values()} == {None}
    assert at_once.timeout_s(at_once.way_back("compensate")) == 60 + 5


def test_an_instance_needs_the_one_of_its_device() -> None:
    """And all of them where there is none on its own device, as an action that runs once does."""
    forward = {one.id: one for one in instances("a", "d1", "d2")}
    forward |= {one.id: one for one in instances("b", "d1", "d9", needs=(("a", False),))}
    forward["c"] = step("c", needs=(("a", False),))
    rows = {name: {"effect": "completed"} for name in forward}
    assert needs_of(forward, rows) == {"a@d1": ["b@d1", "b@d9", "c"], "a@d2": ["b@d9", "c"]}


@pytest.mark.parametrize(
    ("named", "refused"),
    [
        (("a@d1",), "'b@d1' would be kept, and needs 'a@d1'"),
        (("a@d1", "b@d1"), ""),
        (("a",), "'b@d1' would be kept, and needs 'a@d1'"),
        (("a", "b"), ""),
        (("a@d7",), "it has no action 'a@d7'"),
        (("x",), "it has no action 'x'"),
    ],
)
def test_what_is_kept_may_not_need_what_is_taken_back(named: tuple[str, ...], refused: str) -> None:
    """Instance by instance."""
    tried = ended(
        in_group(instances("a", "d1", "d2")), in_group(instances("b", "d1", "d2", needs=(("a", False),))),
        done="a@d1 a@d2 b@d1 b@d2",
    )  # fmt: skip
    assert tried.begin()
    assert tried.ledger.conclude("E1", "failed", rollback="completed")
    RollbackManager(tried.ledger, Settings()).preview(
        "E1", RollbackRequest(actions=named).model_dump(mode="json"), "k", tried.ledger.now_ms()
    )
    told = tried.ledger.answer("k", 1.0)
    assert told is not None
    assert told.get("refused", "").startswith(refused)
    assert bool(told.get("refused")) == bool(refused)


def test_a_choice_for_a_fan_out_is_one_for_each_device() -> None:
    """Unless one of them is chosen for by itself."""
    offered = {"actions": {name: {} for name in ("r@d1", "r@d2", "a")}}
    assert for_each_device({"r": "undo", "r@d2": "keep", "a": "undo"}, offered) == {
        "r@d1": "undo", "r@d2": "keep", "a": "undo",
    }  # fmt: skip
    assert for_each_device({"x": "undo"}, offered) == {"x": "undo"}


# -- the devices of a run's own cluster -------------------------------------------------------------------------------


def own(written: str, defaults: str = "{}", **environ: str) -> list[str]:
    text = f"name: s\ndefaults: {defaults}\nactions:\n  - {{id: a, uses: command, {written}}}\n"
    return devices_of(Strategy.model_validate(load_text(text, "s.yaml").data), environ)


def test_a_run_starts_a_device_for_each_that_is_named() -> None:
    """With its kind, where it is an agent; one where none is named."""
    assert own("devices: [x, y]") == ["x", "y"]
    assert own("devices: [x, y], agent: coder") == ["x:coder", "y:coder"]
    assert own("devices: all") == ["local"]
    assert own("device: z", "{devices: [x, y]}") == ["z"]
    assert own("timeout: 1s", "{devices: [x, y]}") == ["x", "y"]
    assert own("timeout: 1s") == ["local"]


@pytest.mark.parametrize("written", ["devices: {labels: {zone: eu}}", "capabilities: [zone=eu]", "capabilities: [gpu]"])
def test_what_no_device_of_its_own_cluster_announces_is_refused(written: str) -> None:
    """Before it starts: nobody will come."""
    with pytest.raises(StrategyInvalid, match="no device of a run's own cluster announces"):
        own(written)
    assert own(written, REX_LABELS="zone=eu, tier=web", REX_CAPABILITIES="gpu") == ["local"]
