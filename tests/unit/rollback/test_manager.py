"""A rollback from its beginning: planned once, offered to a person, decided, previewed, given up."""

from typing import Any

import pytest
from support.ledgers import WRONG, Tried, in_group, in_sequence, step

from config.settings import Settings
from executor.ledger.memory import MemoryLedger
from executor.model.errors import NotAllowedNow
from executor.model.plan import Call, Step, WayBack
from executor.model.strategy import Strategy
from rollback.manager import RollbackManager

WAY = WayBack(rule="completed", call=Call(uses="command", with_={"run": "./ctl down"}))
SAVE = step("snapshot/1", purpose="snapshot", way_back=WayBack(rule="restores", call=Call(uses="save")))

LACKING = "it was done, and no way back is declared"


class Clock:
    now = 1_800_000_000_000


def undoable(name: str, **more: Any) -> Step:
    return step(name, **{"way_back": WAY, **more})


def failed(clock: Clock | None = None, **said: Any) -> Tried:
    """``a`` and ``b``, which needs it, are done; ``c`` beside nothing fails."""
    kept = clock or Clock()
    tried = Tried(MemoryLedger(clock=lambda: kept.now))
    steps = [undoable("a"), undoable("b", needs=(("a", False),)), undoable("c")]
    tried.start(in_sequence(steps), said={"timeout_s": 60.0, **said})
    for name in "ab":
        tried.settle(tried.claim(name), effect="completed")
    tried.settle(tried.claim("c"), "failed", effect="none")
    return tried


def managed(tried: Tried, **rollback: Any) -> RollbackManager:
    return RollbackManager(tried.ledger, Settings.model_validate({"rollback": rollback}))


def undos(tried: Tried, generation: int = 1) -> list[str]:
    plan = tried.ledger.plan("E1", generation)
    assert plan is not None
    return [name for stage in plan.stages for name in stage.steps]


def previewed(tried: Tried, **request: Any) -> dict[str, Any]:
    """What the preview answers; it changes nothing."""
    before = tried.ledger.head("E1"), tried.events(), tried.sent()
    managed(tried).preview("E1", request, "k", tried.ledger.now_ms())
    found = tried.ledger.answer("k", 1.0)
    assert (tried.ledger.head("E1"), tried.events(), tried.sent()) == before
    assert found is not None
    return found


def ended(tried: Tried, generation: int, **status: str) -> None:
    """Carry a way back to its end; steps that are not named succeed."""
    plan = tried.ledger.plan("E1", generation)
    assert plan is not None
    for number, stage in enumerate(plan.stages):
        for name in stage.steps:
            tried.do(name, generation=generation, status=status.get(name, "succeeded"))
        tried.ledger.advance("E1", generation, number)
    outcome = tried.field("outcome") or "completed"
    assert tried.ledger.conclude("E1", outcome, rollback="partial" if status else "completed")


# -- the way back -----------------------------------------------------------------------------------------------------


def test_a_rollback_begins_once() -> None:
    """However often it is asked for, and not where there is nothing to do."""
    tried = failed()
    manager = managed(tried)
    manager.rollback("nobody")
    manager.rollback("E1")
    assert (tried.field("gen"), undos(tried)) == ("1", ["b", "a"])
    before = tried.events()
    manager.rollback("E1")
    assert tried.events() == before


def test_what_the_strategy_wants_and_cannot_be_is_done_by_compensation() -> None:
    """A failed execution is taken back in any case; why not as written is said."""
    tried = failed(rollback_mechanism="snapshot")
    managed(tried).rollback("E1")
    assert undos(tried) == ["b", "a"]
    assert '"no snapshot was taken"' in (tried.field("chosen") or "")


def test_a_later_rollback_takes_up_what_is_left() -> None:
    """As the person asks, and not as the strategy said."""
    tried = failed(rollback_mechanism="guided")
    managed(tried).rollback("E1")
    tried.choose(a="undo", b="undo")
    managed(tried).rollback("E1")
    ended(tried, 1, b="failed")
    tried.reopen(mechanism="compensate", retry=True)
    managed(tried).rollback("E1")
    assert undos(tried, 2) == ["b"]


# -- with a person ----------------------------------------------------------------------------------------------------


def test_a_guided_rollback_waits_for_the_choice_and_does_it() -> None:
    """Asked again meanwhile it goes on waiting."""
    clock = Clock()
    tried = failed(clock, rollback_mechanism="guided")
    manager = managed(tried, choice_timeout="5m")
    manager.rollback("E1")
    offer = tried.ledger.offered("E1")
    assert offer is not None
    assert (list(offer["actions"]), offer["default"]) == (["a", "b", "c"], "undo")
    assert offer["choose_by_ms"] == clock.now + 300_000
    clock.now += 299_999
    manager.rollback("E1")
    assert tried.field("gen") == "0"
    tried.choose(a="keep", b="undo")
    manager.rollback("E1")
    assert undos(tried) == ["b"]
    assert f'"at_ms":{clock.now}' in (tried.field("chosen") or "")


@pytest.mark.parametrize(("default", "undone"), [("undo", ["b", "a"]), ("keep", [])])
def test_where_nobody_chooses_in_time_it_is_as_configured(default: str, undone: list[str]) -> None:
    """And said to be."""
    clock = Clock()
    tried = failed(clock, rollback_mechanism="guided")
    manager = managed(tried, choice_timeout="5m", choice_default=default)
    manager.rollback("E1")
    clock.now += 300_000
    manager.rollback("E1")
    assert undos(tried) == undone
    assert f"nobody chose in time: {default} is configured" in (tried.field("chosen") or "")


def test_a_choice_of_an_earlier_rollback_is_not_that_of_a_later_one() -> None:
    """Nobody chose, so nobody is said to have chosen at any time."""
    clock = Clock()
    tried = failed(clock, rollback_mechanism="guided")
    manager = managed(tried, choice_timeout="5m")
    manager.rollback("E1")
    tried.choose(a="keep", b="undo")
    manager.rollback("E1")
    ended(tried, 1)
    tried.reopen(mechanism="guided", retry=True)
    manager.rollback("E1")
    clock.now += 300_000
    manager.rollback("E1")
    assert undos(tried, 2) == ["a"]
    assert '"by":"","at_ms":null,"choices":{}' in (tried.field("chosen") or "")


def test_where_there_is_nothing_to_choose_nobody_is_asked() -> None:
    """What failed in the open stage could be tried again; of a failed condition there is nothing."""
    tried = Tried(MemoryLedger()).start(in_group("a"), said={"rollback_mechanism": "guided"})
    tried.do("a")
    tried.ledger.advance("E1", 0, 0, error=WRONG)
    managed(tried).rollback("E1")
    assert tried.state == "concluding"


def test_one_that_is_tried_again_goes_on_and_asks_again_when_that_fails() -> None:
    """The first choice was for the first failure."""
    tried = failed(rollback_mechanism="guided")
    manager = managed(tried)
    manager.rollback("E1")
    tried.choose("c1", c="retry")
    manager.rollback("E1")
    assert (tried.state, tried.field("gen"), tried.status("c")) == ("running", "0", "ready")
    assert tried.status("a") == "succeeded"
    tried.do("c", status="failed")
    assert tried.state == "rolling_back"
    manager.rollback("E1")
    assert tried.state == "rolling_back"
    assert tried.ledger.offered("E1") is not None
    tried.choose("c2", c="retry")
    manager.rollback("E1")
    tried.do("c")
    tried.ledger.advance("E1", 0, 0)
    assert tried.ledger.conclude("E1", "completed")


def test_what_went_on_has_its_time_anew() -> None:
    """As long as its strategy says."""
    clock = Clock()
    tried = failed(clock, rollback_mechanism="guided", timeout_s=90.0)
    managed(tried).rollback("E1")
    tried.choose(c="retry")
    managed(tried).rollback("E1")
    clock.now += 89_999
    assert tried.ledger.overdue_executions() == []
    clock.now += 1
    assert tried.ledger.overdue_executions() == ["E1"]


# -- previews ---------------------------------------------------------------------------------------------------------


def test_a_preview_shows_what_would_be_done() -> None:
    """Of a guided one everything that could be undone."""
    tried = failed()
    shown = previewed(tried)
    assert (shown["execution_id"], shown["status"], shown["mechanism"]) == ("E1", "rolling_back", "compensate")
    assert [step["step"] for stage in shown["stages"] for step in stage["steps"]] == ["b", "a"]
    guided = previewed(failed(rollback_mechanism="guided"))
    assert (guided["mechanism"], guided["steps"]) == ("guided", 2)
    assert guided["chosen"]["reasons"] == ["a person chooses when it begins"]


def completed() -> Tried:
    tried = Tried(MemoryLedger())
    tried.start(
        in_group([undoable("a"), undoable("b", needs=(("a", False),)), step("l", way_back=WayBack(rule="lacking"))])
    )
    for name in "abl":
        tried.settle(tried.claim(name), effect="completed")
    tried.ledger.advance("E1", 0, 0)
    tried.ledger.conclude("E1", "completed")
    return tried


@pytest.mark.parametrize(
    ("request_", "refused"),
    [
        ({}, None),
        ({"actions": ["b"]}, None),
        ({"actions": ["a", "b"]}, None),
        ({"actions": ["a"]}, "'b' would be kept, and needs 'a': name both, or neither"),
        ({"actions": ["y", "a", "x"]}, "it has no action 'x', 'y'"),
        ({"actions": ["l"]}, f"nothing of what is left can be undone: l: {LACKING}"),
        ({"mechanism": "snapshot"}, "no snapshot was taken"),
        ({"mechanism": "partial"}, "no actions are named"),
    ],
)
def test_a_preview_says_why_a_rollback_may_not_be(request_: dict[str, Any], refused: str | None) -> None:
    """In words for the person who asked."""
    assert previewed(completed(), **request_).get("refused") == refused


def test_what_was_taken_back_already_is_taken_up_only_on_request() -> None:
    """By name, or with --retry; when nothing is left, not at all."""
    tried = completed()
    tried.reopen()
    managed(tried).rollback("E1")
    ended(tried, 1, a="failed")
    said = "it was taken back already (partial), and something is left: --retry takes it up, --actions names it"
    assert previewed(tried).get("refused") == said
    assert "refused" not in previewed(tried, retry=True)
    assert "refused" not in previewed(tried, actions=["a"])
    tried.reopen("k2", retry=True)
    managed(tried).rollback("E1")
    ended(tried, 2)
    assert previewed(tried, retry=True)["refused"] == f"nothing of what is left can be undone: l: {LACKING}"


def test_what_never_ran_has_nothing_to_preview() -> None:
    """And what nobody knows is said to be unknown; a wrong request too."""
    tried = Tried(MemoryLedger())
    tried.submit()
    assert previewed(tried)["refused"] == "nothing of it ran, so there is nothing to take back"
    assert "mechanism" in previewed(tried, mechanism="magic")["refused"]
    managed(tried).preview("E2", {}, "k2", tried.ledger.now_ms())
    answer = tried.ledger.answer("k2", 1.0)
    assert answer is not None
    assert "E2" in answer["refused"]


# -- snapshots --------------------------------------------------------------------------------------------------------


def test_snapshots_are_taken_without_running_anything() -> None:
    """By an execution that does nothing else, and restored by taking that back."""
    written = Strategy.model_validate(
        {
            "name": "s", "inputs": {"port": {"type": "integer"}}, "snapshot": [{"uses": "save", "device": "d1"}],
            "actions": [{"id": "a", "uses": "command", "with": {"run": "x"}}],
        }
    )  # fmt: skip
    ledger = MemoryLedger()
    manager = RollbackManager(ledger, Settings())
    taken = manager.create_snapshot(written, {"port": 1})
    document = ledger.document(taken)
    assert document is not None
    assert document["strategy"]["snapshot"] == [{"uses": "save", "device": "d1"}]
    assert [action["uses"] for action in document["strategy"]["actions"]] == ["assert"]
    assert document["inputs"] == {"port": 1}
    with pytest.raises(NotAllowedNow, match="nothing of it ran"):
        manager.restore_from_snapshot(taken, by="ann")


def test_a_restore_is_a_rollback_by_snapshot() -> None:
    """Of what has ended."""
    tried = Tried(MemoryLedger()).start(in_group([SAVE]), in_group([undoable("a")]))
    held = tried.claim("snapshot/1")
    tried.ledger.record_undo(held, {"data": {}, "covers": ["/etc"]})
    tried.settle(held, effect="completed")
    tried.ledger.advance("E1", 0, 0)
    tried.settle(tried.claim("a"), effect="completed")
    tried.ledger.advance("E1", 0, 1)
    tried.ledger.conclude("E1", "completed")
    manager = managed(tried)
    assert manager.restore_from_snapshot("E1", by="ann", force=True) == ("ok", "")
    manager.rollback("E1")
    assert undos(tried) == ["a", "snapshot/1"]
    assert tried.ledger.steps("E1", 1)["snapshot/1"].force
