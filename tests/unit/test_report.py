"""What the report says of an action's way back."""

from typing import Any

import pytest
from support.ledgers import Tried, in_sequence

from executor.ledger.memory import MemoryLedger
from executor.model.plan import Call, Step, WayBack, WayBackRule
from executor.report import report


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
    step = Step(id="a", device="edge-1", call=call, way_back=WayBack(rule=rule))
    tried.start(in_sequence([step, Step(id="b", device="edge-1", call=call)]))
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
