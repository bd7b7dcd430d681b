"""One execution that is to be taken back: which way, of what, and how long it may take."""

import json
from typing import Any

import pytest
from support.ledgers import WRONG, Tried, in_group, in_sequence, step

from config.settings import Settings
from executor.ledger.memory import MemoryLedger
from executor.model.plan import Call, Reads, Step, WayBack
from executor.model.rollback import RollbackRequest
from rollback.case import Case, NoWay

UNDO = Call(uses="command", with_={"run": "./ctl down ${{ inputs.port }} ${{ result.n }} ${{ actions.a.status }}"})
WAY = WayBack(rule="completed", call=UNDO, timeout_s=5.0)
PROBE = Step(id="verify/1", device="edge-1", call=Call(uses="look"), purpose="verify", timeout_s=7.0)
SAVE = step("snapshot/1", purpose="snapshot", way_back=WayBack(rule="restores", call=Call(uses="save")))


def undoable(name: str, **more: Any) -> Step:
    return step(name, **{"way_back": WAY, **more})


class Sorted(MemoryLedger):
    """One that does not keep the order of steps."""

    def steps(self, execution: str, generation: int) -> dict[str, Step]:
        return dict(sorted(super().steps(execution, generation).items()))


class Clock:
    now = 1_800_000_000_000


def failed(*, saves: bool = False, settings: Settings | None = None, clock: Clock | None = None, **said: Any) -> Tried:
    """``a`` and ``b`` one after the other, then ``c`` fails; all can be taken back."""
    kept = clock or Clock()
    tried = Tried(MemoryLedger(clock=lambda: kept.now))
    forward = [in_sequence([undoable("a"), undoable("b")]), in_group([undoable("c")])]
    tried.start(*([in_group([SAVE])] if saves else []), *forward, said=said, inputs={"port": 80})
    if saves:
        held = tried.claim("snapshot/1")
        tried.ledger.record_undo(held, {"data": {}, "covers": ["/etc"]})
        tried.settle(held, effect="completed")
        tried.ledger.advance("E1", 0, 0)
    for name in "ab":
        tried.settle(tried.claim(name), effect="completed", result={"n": 3})
    tried.ledger.advance("E1", 0, int(saves))
    tried.settle(tried.claim("c"), "failed", effect="none")
    return tried


def case(tried: Tried, settings: Settings | None = None, **request: Any) -> Case:
    ledger = tried.ledger
    forward = ledger.plan("E1", 0)
    assert forward is not None
    asked = RollbackRequest(**request) if request else None
    return Case(ledger, settings or Settings(), "E1", ledger.head("E1"), forward=forward, request=asked)


# -- which ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "request_", "asked"),
    [
        ("adaptive", {}, "adaptive"),
        ("phased", {}, "phased"),
        ("none", {}, "adaptive"),
        ("phased", {"by": "ann"}, "phased"),
        ("phased", {"mechanism": "compensate"}, "compensate"),
        ("phased", {"mechanism": "compensate", "actions": ("a",)}, "partial"),
        ("none", {"mechanism": "guided"}, "guided"),
    ],
)
def test_a_person_is_asked_before_the_strategy(written: str, request_: dict[str, Any], asked: str) -> None:
    """Who names actions wants these; a strategy that takes nothing back says nothing about how."""
    assert case(failed(rollback_mechanism=written), **request_).asked == asked


def test_what_the_strategy_says_is_done_and_said() -> None:
    """With the one estimate."""
    chosen, made = case(failed(rollback_mechanism="partial", rollback_actions=("a",))).determine()
    assert (chosen.mechanism, chosen.asked, chosen.reasons) == ("partial", "partial", ("the strategy says so",))
    assert (chosen.kept, list(made.steps), chosen.by, chosen.at_ms) == (("b",), ["a"], "", None)
    assert [(one.mechanism, one.steps, one.left) for one in chosen.estimates] == [("partial", 1, 1)]


def test_what_a_person_asks_for_is_done_and_said() -> None:
    """By whom, and when."""
    tried = failed()
    chosen, _ = case(tried, mechanism="compensate", by="ann").determine()
    assert (chosen.reasons, chosen.by) == (("asked for by ann",), "ann")
    assert chosen.at_ms == int(tried.field("rb_started") or "")


@pytest.mark.parametrize("mechanism", ["snapshot", "partial"])
def test_what_is_not_possible_is_said(mechanism: str) -> None:
    """Where it was asked for it is refused; weighed, it is not chosen."""
    why = {"snapshot": "no snapshot was taken", "partial": "no actions are named"}[mechanism]
    with pytest.raises(NoWay, match=f"^{why}$"):
        case(failed(), mechanism=mechanism, by="ann").determine()
    chosen, _ = case(failed()).determine()
    weighed = {one.mechanism: (one.possible, one.reason) for one in chosen.estimates}
    assert weighed[mechanism] == (False, why)  # type: ignore[index]
    assert chosen.mechanism == "compensate"


def test_adaptive_weighs_every_way_there_is() -> None:
    """With a snapshot; of one phase the end alone is proved, and neither snapshots nor sequences are phases."""
    tried = failed(saves=True, rollback_verify=(PROBE,))
    chosen, made = case(tried).determine()
    assert {one.mechanism: one.possible for one in chosen.estimates} == {
        "compensate": True, "snapshot": True, "phased": False, "partial": False
    }  # fmt: skip
    assert (chosen.mechanism, chosen.asked) == ("compensate", "adaptive")
    assert list(made.steps) == ["b", "a", "verify/1"]
    assert "undo is known for all 2 actions with effects" in chosen.reasons


def test_what_cannot_be_undone_by_itself_is_by_snapshot() -> None:
    """Adaptive leaves as little as it can."""
    tried = Tried(MemoryLedger()).start(
        in_group([SAVE]), in_group([step("a", way_back=WayBack(rule="lacking", local=True))])
    )
    held = tried.claim("snapshot/1")
    tried.ledger.record_undo(held, {"data": {}, "covers": []})
    tried.settle(held, effect="completed")
    tried.ledger.advance("E1", 0, 0)
    tried.settle(tried.claim("a"), "failed", effect="completed")
    chosen, made = case(tried).determine()
    assert chosen.mechanism == "snapshot"
    assert "compensate would leave 1 undone" in chosen.reasons
    assert list(made.steps) == ["snapshot/1"]


# -- plans ------------------------------------------------------------------------------------------------------------


def test_phased_proves_each_phase_and_others_the_end() -> None:
    """Where nothing is taken back the end is proved all the same."""
    tried = failed(rollback_verify=(PROBE,))
    assert list(case(tried).way_back("phased").steps) == ["b", "a", "verify/1/1"]
    assert list(case(tried).way_back("compensate").steps) == ["b", "a", "verify/1"]
    assert list(case(tried).way_back("phased", frozenset()).steps) == ["verify/1"]


def test_what_is_left_is_told_in_plain_words() -> None:
    """Expressions are filled in as far as they can be."""
    tried = Tried(MemoryLedger())
    lacking = step("a", way_back=WayBack(rule="lacking"), call=UNDO)
    tried.start(in_group([lacking]), inputs={"port": 80})
    tried.settle(tried.claim("a"), "failed", effect="completed")
    one = case(tried)
    assert one.told("no expression") == "no expression"
    assert one.told("${{ inputs.port }} ${{ actions.a.status }}") == "80 failed"
    assert one.told("${{ inputs.nobody }}") == "${{ inputs.nobody }}"
    assert one.told("${{ error.message }}", "a") == "wrong"
    (left,) = one.way_back("compensate").remaining
    assert left["what"] == UNDO.shown()  # its result is null, so that one cannot be filled in: as written


def test_earlier_rollbacks_count() -> None:
    """What they did is not planned again; a person may name what they left."""
    tried = failed()
    assert case(tried).earlier.touched == frozenset()
    tried.begin(in_group([step("a", purpose="undo", undoes="a"), step("b", purpose="undo", undoes="b")]))
    tried.do("a", generation=1)
    tried.do("b", status="failed", generation=1)
    tried.ledger.advance("E1", 1, 0)
    tried.ledger.conclude("E1", "failed", rollback="partial")
    again = case(tried, retry=True)
    assert (again.earlier.done, again.earlier.touched) == ({"a"}, {"a", "b"})
    assert list(again.way_back("compensate").steps) == ["b"]
    assert again.stage == ()


def test_nothing_of_it_ran_between_its_end_and_the_request() -> None:
    """What changed in that time others changed, also before an earlier rollback; none is right after the failure."""
    clock = Clock()
    tried = failed(clock=clock)
    assert case(tried).way_back("compensate").steps["a"].quiet_ms is None
    ended = clock.now
    tried.begin(in_group([step("a", purpose="undo", undoes="a", on_failure="continue")]))
    clock.now += 30_000
    tried.do("a", status="failed", generation=1)
    tried.ledger.advance("E1", 1, 0)
    tried.ledger.conclude("E1", "failed", rollback="partial")
    clock.now += 30_000
    assert case(tried, by="ann").way_back("compensate").steps["a"].quiet_ms == (ended, ended + 60_000)
    tried.reopen()
    clock.now += 60_000
    again = case(tried, force=True).way_back("compensate").steps["a"]
    assert (again.quiet_ms, again.force) == ((ended, ended + 60_000), True)


def test_a_rollback_has_the_time_that_its_steps_may_take() -> None:
    """And the configured one beyond it; or what the strategy says."""
    settings = Settings.model_validate({"rollback": {"rollback_timeout": "100s"}})
    one = case(failed(rollback_verify=(PROBE,)), settings)
    assert one.timeout_s(one.way_back("compensate")) == 100 + 5 + 5 + 7
    assert one.timeout_s(one.way_back("partial", frozenset("a"))) == 100 + 5 + 7
    assert one.timeout_s(one.way_back("partial", frozenset())) == 100 + 7
    written = case(failed(rollback_timeout_s=42.0), settings)
    assert written.timeout_s(written.way_back("compensate")) == 42.0


@pytest.mark.parametrize(("parallel", "longest"), [(0, 9.0), (1, 19.0), (2, 14.0), (3, 9.0)])
def test_what_goes_back_side_by_side_takes_as_long_as_the_longest(parallel: int, longest: float) -> None:
    """Or as long as all of them where fewer may run at once."""
    settings = Settings.model_validate({"rollback": {"rollback_timeout": "100s"}})
    ways = {name: WAY.model_copy(update={"timeout_s": s}) for name, s in (("a", 9.0), ("b", 5.0), ("c", 5.0))}
    tried = Tried(MemoryLedger())
    tried.start(in_group([undoable(name, way_back=way) for name, way in ways.items()]), said={"parallel": parallel})
    for name in "ab":
        tried.settle(tried.claim(name), effect="completed")
    tried.settle(tried.claim("c"), "failed", effect="completed")
    one = case(tried, settings)
    assert one.timeout_s(one.way_back("compensate")) == 100 + longest


def test_actions_are_in_the_order_of_the_plan() -> None:
    """A ledger keeps them in none."""
    tried = Tried(Sorted()).start(in_group("z m"), in_group("b a"))
    assert list(case(tried).steps) == ["z", "m", "b", "a"]


# -- guided -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("default", "choices", "undone", "kept"),
    [
        ("undo", {}, ["b", "a"], ()),
        ("undo", {"a": "keep"}, ["b"], ("a",)),
        ("keep", {}, [], ("a", "b")),
        ("keep", {"b": "undo"}, ["b"], ("a",)),
        ("keep", {"a": "undo", "b": "undo"}, ["b", "a"], ()),
    ],
)
def test_a_choice_is_done_and_the_rest_as_configured(
    default: str, choices: dict[str, Any], undone: list[str], kept: tuple[str, ...]
) -> None:
    """Who chose is said; or that nobody did."""
    settings = Settings.model_validate({"rollback": {"choice_default": default}})
    chosen, made = case(failed(rollback_mechanism="guided"), settings).by_choice(choices, "ann" if choices else "")
    assert (list(made.steps), chosen.kept, chosen.choices) == (undone, kept, choices)
    why = "chosen by ann" if choices else f"nobody chose in time: {default} is configured"
    assert (chosen.mechanism, chosen.reasons, chosen.at_ms) == ("guided", (why,), None)


def test_what_was_broken_off_goes_on_with_what_is_tried_again() -> None:
    """Only of the stage at which it stopped, in its order."""
    tried = Tried(MemoryLedger()).start(in_group("z"), in_group("e d c b a"))
    tried.do("z")
    tried.ledger.advance("E1", 0, 0)
    held = tried.claim("a")
    tried.do("c")
    tried.do("b", status="failed")
    tried.settle(held, "cancelled")
    one = case(tried)
    assert one.stage == ("e", "d", "c", "b", "a")
    assert one.to_run_again({"b": "retry"}) == ["e", "d", "b", "a"]
    assert one.to_run_again({"b": "undo", "a": "keep"}) == []
    assert one.to_run_again({"z": "retry"}) == []


def test_with_one_that_is_tried_again_every_fatal_one_is() -> None:
    """With another failure standing there the execution could not go on; one that is borne stays as it is."""
    bearing = step("c", on_failure="continue")
    tried = Tried(MemoryLedger()).start(in_group([step("b"), bearing, step("a")]))
    held = tried.claim("a")
    tried.do("c", "b", status="failed")
    tried.settle(held, "failed")
    assert case(tried).to_run_again({"b": "retry"}) == ["b", "a"]


def test_the_error_and_the_age_are_what_a_choice_goes_by() -> None:
    """A critical error is proved phase by phase."""
    tried = Tried(MemoryLedger())
    tried.start(in_group([undoable("a")]), in_group([undoable("b")]), said={"rollback_verify": (PROBE,)})
    tried.settle(tried.claim("a"), effect="completed")
    tried.ledger.advance("E1", 0, 0)
    error = {**WRONG, "classification": {"severity": "critical"}}
    tried.settle(tried.claim("b"), "failed", error=error, effect="completed")
    assert json.loads(tried.field("error") or "") == error
    chosen, made = case(tried).determine()
    assert chosen.mechanism == "phased"
    assert [stage.steps for stage in made.stages] == [("b",), ("verify/1/1",), ("a",), ("verify/1/2",)]


def test_reads_of_undo_and_probe_are_joined() -> None:
    """A step that may have to ask first needs the data of both."""
    call = Call(uses="ask", reads=Reads(actions=("z",), inputs=True))
    way = WayBack(rule="completed", call=Call(uses="down", reads=Reads(actions=("y",), context=True)))
    tried = Tried(MemoryLedger()).start(in_group([step("a", call=call, way_back=way)]))
    tried.settle(tried.claim("a"), "failed", effect="unknown")
    undo = case(tried).way_back("compensate").steps["a"]
    assert (undo.probe, undo.reads) == (call, Reads(actions=("y", "z"), inputs=True, context=True))
