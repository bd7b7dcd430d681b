"""What is taken back, by what the ledger says of each action."""

import json
from typing import Any

import pytest

from executor.model.plan import Call, Fallback, Plan, Step, WayBack, WayBackRule, group
from rollback.compensation import WayBackPlan, plan_way_back

CALL = Call(uses="change")


def back(row: dict[str, str], rule: WayBackRule, *, of_fallback: bool = False) -> WayBackPlan:
    """The way back of one action of which the ledger says `row`."""
    way = WayBack(rule=rule, call=CALL)
    more: dict[str, Any] = {"fallback": Fallback(call=CALL, way_back=way)} if of_fallback else {"way_back": way}
    step = Step(id="a", device="edge-1", call=CALL, **more)
    return plan_way_back(Plan(stages=(group([step]),)), {"a": step}, {"a": row}, length=25, fuse=True)


NOTHING_SAVED = json.dumps({"data": None, "target": ""})


def test_of_a_fallback_that_saved_nothing_nothing_can_be_restored() -> None:
    row = {"effect": "none", "effect_fallback": "unknown", "undo_fallback": NOTHING_SAVED}
    assert not back(row, "restores", of_fallback=True).steps
    saved = {**row, "undo_fallback": json.dumps({"data": {"path": "/x"}, "target": "/x"})}
    assert list(back(saved, "restores", of_fallback=True).steps) == ["a/fallback"]


@pytest.mark.parametrize(
    ("rule", "undone", "left"), [("completed", True, 0), ("started", True, 0), ("lacking", False, 1)]
)
def test_a_fallback_of_which_nobody_knows_is_probed_or_listed(rule: WayBackRule, undone: bool, left: int) -> None:
    row = {"effect": "none", "effect_fallback": "unknown", "undo_fallback": NOTHING_SAVED}
    planned = back(row, rule, of_fallback=True)
    assert ("a/fallback" in planned.steps, len(planned.remaining)) == (undone, left)


@pytest.mark.parametrize("rule", ["restores", "completed", "started", "lacking"])
def test_what_was_skipped_is_left_alone(rule: WayBackRule) -> None:
    """Its first holder died before it asked whether it is to run, so nobody knew, until the second one asked."""
    planned = back({"status": "skipped", "effect": "unknown"}, rule)
    assert (planned.steps, planned.remaining) == ({}, [])
