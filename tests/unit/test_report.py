"""What the report says of an action's way back, and of how an execution ended that was taken back."""

from typing import Any

import pytest
from support.ledgers import Tried, in_group, in_sequence, step

from config.settings import Settings
from executor.catalogue import MemoryCatalogue
from executor.ledger.memory import MemoryLedger
from executor.model.plan import Call, Step, WayBack, WayBackRule
from executor.report import report
from executor.resolution import ResolutionExecutor


def told(
    rule: WayBackRule,
    *,
    status: str = "succeeded",
    effect: str = "completed",
    undo: str | None = None,
    rollback: bool = True,
) -> Any:
    """What stands under ``undo`` of an action after the rollback of its execution."""
    tried = Tried(MemoryLedger())
    call = Call(uses="command")
    one = Step(id="a", device="edge-1", call=call, way_back=WayBack(rule=rule))
    tried.start(in_sequence([one, Step(id="b", device="edge-1", call=call)]))
    tried.settle(tried.claim("a"), status, effect=effect)
    if rollback:
        tried.settle(tried.claim("b"), "failed")
        undos = [Step(id="a", device="edge-1", call=call, purpose="undo", undoes="a", on_failure="continue")]
        assert tried.begin(*([in_sequence(undos)] if undo else []))
        if undo:
            tried.do("a", status=undo, generation=1)
        tried.ledger.conclude("E1", "failed", rollback="completed")
    return report(tried.ledger, "E1")["actions"]["a"]["undo"]


def test_none_is_what_was_declared_so() -> None:
    assert told("none") == "none"
    assert told("none", effect="none") is None
    assert told("none", rollback=False) is None


@pytest.mark.parametrize(
    ("undo", "said"), [("succeeded", "compensated"), ("failed", "failed"), ("timed_out", "failed"), ("skipped", None)]
)
def test_what_became_of_the_undo(undo: str, said: str | None) -> None:
    assert told("completed", undo=undo) == said


def test_what_was_skipped_is_not_said_to_be_left_by_declaration() -> None:
    """Its first holder died, so its effect stood as unknown until the second one found that it is not to run."""
    assert told("none", effect="unknown", status="skipped") is None


@pytest.mark.parametrize("rule", ["lacking", "nothing"])
def test_what_has_no_way_back_was_not_tried(rule: WayBackRule) -> None:
    assert told(rule) is None


@pytest.mark.parametrize(
    ("became", "status"), [("succeeded", "rolled_back"), ("failed", "rolled_back"), ("", "completed")]
)
def test_one_of_which_nothing_was_undone_stays_completed(became: str, status: str) -> None:
    """A person asked, and then kept everything; what was tried to be undone counts, in an earlier go too."""
    tried = Tried(MemoryLedger()).complete()
    tried.reopen()
    if became:
        assert tried.begin(in_group([step("u", purpose="undo", undoes="a", on_failure="continue")]))
        tried.do("u", status=became, generation=1)
        assert tried.ledger.advance("E1", 1, 0)
    else:
        assert tried.begin()
    executor = ResolutionExecutor(tried.ledger, MemoryCatalogue(), Settings())
    executor.conclude("E1")
    assert tried.state == status
    tried.reopen("k2")
    tried.begin()
    executor.conclude("E1")
    assert tried.state == status
