"""A coordinator that is asked by people: what it refuses, what comes too late, and what overtakes it."""

from typing import Any

import pytest
from support.ledgers import Tried, in_group, in_sequence, step

from config.settings import Settings
from executor.ledger.memory import MemoryLedger
from executor.model.errors import NotAllowedNow, UnknownExecution
from executor.model.plan import Call, WayBack
from rollback.case import Case
from rollback.manager import RollbackManager

WAY = WayBack(rule="completed", call=Call(uses="command", with_={"run": "./ctl down"}))
ASKED_MS = 1_800_000_000_000


class Clock:
    now = ASKED_MS


def undoable(name: str) -> Any:
    return step(name, way_back=WAY)


def failed(clock: Clock | None = None, **said: Any) -> Tried:
    """``a`` is done, ``c`` fails."""
    kept = clock or Clock()
    tried = Tried(MemoryLedger(clock=lambda: kept.now))
    tried.start(in_sequence([undoable("a"), undoable("c")]), said=said)
    tried.settle(tried.claim("a"), effect="completed")
    tried.settle(tried.claim("c"), "failed", effect="none")
    return tried


def completed() -> Tried:
    tried = Tried(MemoryLedger()).start(in_group([undoable("a")]))
    tried.settle(tried.claim("a"), effect="completed")
    tried.ledger.advance("E1", 0, 0)
    tried.ledger.conclude("E1", "completed")
    return tried


def managed(tried: Tried, **rollback: Any) -> RollbackManager:
    return RollbackManager(tried.ledger, Settings.model_validate({"rollback": rollback}))


def previewed(tried: Tried, asked_ms: int | None = None, **request: Any) -> dict[str, Any]:
    managed(tried).preview("E1", request, "k", tried.ledger.now_ms() if asked_ms is None else asked_ms)
    found = tried.ledger.answer("k", 1.0)
    assert found is not None
    return found


# -- previews ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("later_ms", "answers"), [(60_000, True), (60_001, False)])
def test_what_nobody_waits_for_any_more_is_not_worked_out(later_ms: int, answers: bool) -> None:
    """The question is answered all the same, so that it is not asked again."""
    clock = Clock()
    tried = failed(clock)
    clock.now += later_ms
    assert bool(previewed(tried, ASKED_MS)) == answers


def test_an_error_that_nobody_foresaw_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would be asked for ever."""

    def broken(_: Case) -> Any:
        raise KeyError("bug")

    monkeypatch.setattr(Case, "determine", broken)
    told = previewed(failed())
    assert list(told) == ["refused"]
    assert "the rollback could not be planned" in told["refused"]


def test_what_waits_for_a_choice_is_not_asked_for_otherwise() -> None:
    """How to choose is said; of what has not ended, that it has not."""
    tried = failed(rollback_mechanism="guided")
    manager = managed(tried)
    assert "it is rolling_back, and only what has ended is taken back" in previewed(tried)["refused"]
    manager.rollback("E1")
    assert previewed(tried)["refused"] == "it waits for a choice: `rex rollback E1 --choose` shows it"
    tried.choose(a="undo")
    assert "it is rolling_back" in previewed(tried)["refused"]


# -- what is not possible ---------------------------------------------------------------------------------------------


def test_what_a_person_wants_and_cannot_be_is_not_done_otherwise() -> None:
    """Everything is left to whoever asked, with the reason."""
    tried = completed()
    tried.reopen(mechanism="snapshot")
    managed(tried).rollback("E1")
    assert tried.ledger.steps("E1", 1) == {}
    assert '"action": "a"' in (tried.field("remaining") or "")
    assert "no snapshot was taken" in (tried.field("remaining") or "")
    assert '"reasons":["no snapshot was taken"]' in (tried.field("chosen") or "")
    assert '"by":"ann"' in (tried.field("chosen") or "")


def test_without_a_snapshot_none_is_restored() -> None:
    """It is said before anything begins."""
    tried = completed()
    before = tried.ledger.head("E1")
    with pytest.raises(NotAllowedNow, match=r"^execution E1 is not restored: no snapshot was taken$"):
        managed(tried).restore_from_snapshot("E1", by="ann")
    with pytest.raises(UnknownExecution):
        managed(tried).restore_from_snapshot("E2", by="ann")
    assert tried.ledger.head("E1") == before


# -- what overtakes it ------------------------------------------------------------------------------------------------


class Overtaking(MemoryLedger):
    """Between a coordinator's reading and what comes of it a person does something."""

    def overtaken_by(self, done: Any) -> None:
        self.done = done

    def steps(self, execution: str, generation: int) -> Any:
        done, self.done = getattr(self, "done", None), None
        if done is not None:
            done()
        return super().steps(execution, generation)


def guided() -> tuple[Tried, Overtaking]:
    ledger = Overtaking()
    tried = Tried(ledger)
    tried.start(in_sequence([undoable("a"), undoable("c")]), said={"rollback_mechanism": "guided"})
    tried.settle(tried.claim("a"), effect="completed")
    tried.settle(tried.claim("c"), "failed", effect="none")
    return tried, ledger


def goes_on_and_fails_again(tried: Tried) -> None:
    """Another coordinator lets ``c`` run again, and it fails, now with an effect."""
    managed(tried).rollback("E1")
    tried.settle(tried.claim("c"), "failed", effect="completed")


def test_a_plan_for_what_was_before_begins_nothing() -> None:
    """Its coordinator had stood still meanwhile; who comes then asks anew."""
    tried, ledger = guided()
    managed(tried).rollback("E1")
    tried.choose("c1", c="retry")
    ledger.overtaken_by(lambda: goes_on_and_fails_again(tried))
    managed(tried).rollback("E1")
    assert (tried.state, tried.field("gen"), tried.status("c")) == ("rolling_back", "0", "failed")
    managed(tried).rollback("E1")
    assert ledger.offered("E1") is not None


def test_an_offer_for_what_was_before_is_not_made() -> None:
    """A person would choose by what is not so any more."""
    tried, ledger = guided()
    managed(tried).rollback("E1")
    tried.choose("c1", c="retry")
    goes_on_and_fails_again(tried)
    head = tried.ledger.head("E1")

    def chooses() -> None:
        managed(tried).rollback("E1")
        tried.choose("c2", c="retry")
        goes_on_and_fails_again(tried)

    ledger.overtaken_by(chooses)
    managed(tried).rollback("E1")
    assert "offer" not in tried.ledger.head("E1")
    assert int(tried.field("turn") or "") > int(head["turn"])


def test_a_rollback_for_what_was_before_does_not_begin() -> None:
    """The time to choose was over for who stood still, and then somebody had chosen."""
    clock = Clock()
    ledger = Overtaking(clock=lambda: clock.now)
    tried = Tried(ledger)
    tried.start(in_sequence([undoable("a"), undoable("c")]), said={"rollback_mechanism": "guided"})
    tried.settle(tried.claim("a"), effect="completed")
    tried.settle(tried.claim("c"), "failed", effect="none")
    managed(tried).rollback("E1")
    tried.choose("c1", a="undo")
    ledger.overtaken_by(ledger._store.executions["E1"].turn)
    managed(tried).rollback("E1")
    assert tried.field("gen") == "0"
    managed(tried).rollback("E1")
    assert tried.field("gen") == "1"
