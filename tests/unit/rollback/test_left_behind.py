"""What may stand on a lost device is listed when an execution is taken back; compensations that may move say so."""

import json
from typing import Any

import pytest
from support.ledgers import step

from executor.model.plan import Call, Plan, WayBack, group
from rollback.compensation import WayBackPlan, plan_way_back

DONE = {"status": "succeeded", "device": "edge-2", "effect": "completed", "ord": "1", "attempt": "1"}
DECLARED = WayBack(rule="completed", call=Call(uses="command"))


def left(effect: str, **more: Any) -> str:
    one = {"device": "edge-1", "effect": effect, "undo": None, "effect_fallback": "none", "undo_fallback": None}
    return json.dumps([{**one, **more}])


def planned(way_back: WayBack, **row: str) -> WayBackPlan:
    steps = {"a": step("a", way_back=way_back, movable=True, idempotent=True)}
    return plan_way_back(Plan(stages=(group(steps.values()),)), steps, {"a": {**DONE, **row}}, length=9, fuse=True)


def test_it_is_taken_back_where_it_ran_last_and_listed_where_it_may_have_begun() -> None:
    made = planned(DECLARED, left=left("unknown"))
    assert [(name, one.device) for name, one in made.steps.items()] == [("a", "edge-2")]
    assert made.remaining == [
        {
            "action": "a", "device": "edge-1", "what": "wait",
            "reason": "it may have begun on edge-1 before that device was lost",
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("way_back", "kept"),
    [
        (DECLARED, left("started")),  # an attempt that failed, and is taken back only when it was done
        (WayBack(rule="nothing"), left("unknown")),  # nothing was changed
        (WayBack(rule="restores", call=Call(uses="file.edit")), left("unknown")),  # it had not come to save anything
    ],
)
def test_what_would_not_be_taken_back_is_not_listed(way_back: WayBack, kept: str) -> None:
    assert planned(way_back, left=kept).remaining == []


def test_what_had_saved_what_it_was_about_to_change_is_listed() -> None:
    made = planned(
        WayBack(rule="restores", call=Call(uses="file.edit")), left=left("unknown", undo={"data": {"path": "/a"}})
    )
    assert [one["device"] for one in made.remaining] == ["edge-1"]


def test_it_is_listed_also_where_nothing_came_of_it_elsewhere() -> None:
    assert planned(DECLARED, left=left("unknown"), status="skipped", effect="none").steps == {}
    assert len(planned(DECLARED, left=left("unknown"), status="skipped", effect="none").remaining) == 1


@pytest.mark.parametrize("reach", [False, True])
def test_a_compensation_that_is_reached_from_elsewhere_may_move(reach: bool) -> None:
    made = planned(DECLARED.model_copy(update={"reach": reach}))
    assert (made.steps["a"].movable, made.steps["a"].reach) == (reach, reach)
