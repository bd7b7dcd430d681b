"""The judge of fault tests sees what is wrong: each invariant broken once, in what is known of one execution."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.fleet_judge import Seen, judge
from support.kill_storm import Held, taken_over_after
from support.shapes import nap

Json = dict[str, Any]


def event(seq: int, name: str, action: str = "", **data: Any) -> Json:
    return {"seq": seq, "event": name, "timestamp": 1000 * seq, "data": {"action": action, **data}}


def told(status: str, error: str = "") -> Json:
    return {"status": status, "error": {"type": error, "message": ""} if error else None}


@pytest.fixture
def failed(tmp_path: Path) -> Seen:
    """Of two actions the second fails; the first is taken back."""
    document = {"name": "drawn-7", "model": "sequential",
                "actions": [nap(7, "a0", "edge-1", 0), nap(7, "a1", "edge-2", 0, fails=True)]}  # fmt: skip
    report = {
        "execution_id": "x", "status": "failed", "error": None,
        "actions": {"a0": told("succeeded"), "a1": told("failed", "ActionError")},
        "rollback": {"remaining": [], "compensated": [{"action": "a0"}]},
    }  # fmt: skip
    names = ["submitted", "action:started", "action:completed", "action:started", "action:failed"]
    actions = ["", "a0", "a0", "a1", "a1"]
    events = [
        event(n, f"execution:{name}", action) for n, (name, action) in enumerate(zip(names, actions, strict=True), 1)
    ]
    events.append(event(6, "rollback:started"))
    lines = ["1.00 7:do:a0", "1.10 7:end:a0", "1.50 7:do:a1", "1.60 7:end:a1", "2.00 7:undo:a0", "2.10 7:undone:a0"]
    return Seen(document, report, events, lines, tmp_path)


def completed(seen: Seen) -> Seen:
    report = {**seen.report, "status": "completed", "rollback": {"remaining": [], "compensated": []},
              "actions": {"a0": told("succeeded"), "a1": told("succeeded")}}  # fmt: skip
    return replace(seen, report=report, effects=seen.effects[:4], events=seen.events[:3])


def test_nothing_is_wrong_where_all_is_well(failed: Seen) -> None:
    assert judge(failed) == []
    assert judge(completed(failed)) == []


def without(seen: Seen, *left_out: str) -> list[str]:
    return [line for line in seen.effects if line.split()[1] not in left_out]


@pytest.mark.parametrize(
    ("number", "lines"),
    [
        ("3", ["1.20 7:do:a0"]),
        ("5", ["2.20 7:undo:a0"]),
        ("5", ["1.90 7:undo:a0", "1.95 7:undo:a1"]),
        ("6", ["2.50 7:end:a1"]),
    ],
    ids=["done twice", "taken back twice", "in the wrong order", "after the rollback began"],
)
def test_a_line_too_many(failed: Seen, number: str, lines: list[str]) -> None:
    wrong = judge(replace(failed, effects=sorted([*failed.effects, *lines])))
    assert any(f"x: {number}: " in problem for problem in wrong), wrong


@pytest.mark.parametrize(
    ("number", "lines"),
    [("7", ("7:undo:a0", "7:undone:a0")), ("4", ("7:end:a0",))],
    ids=["not taken back", "broken off"],
)
def test_a_line_too_few(failed: Seen, number: str, lines: tuple[str, ...]) -> None:
    wrong = judge(replace(failed, effects=without(failed, *lines)))
    assert any(f"x: {number}: " in problem for problem in wrong), wrong


def test_what_is_left_is_listed(failed: Seen) -> None:
    """Nothing is lost where a person is told."""
    report = {**failed.report, "rollback": {"remaining": [{"action": "a0"}], "compensated": []}}
    assert judge(replace(failed, report=report, effects=without(failed, "7:undo:a0", "7:undone:a0"))) == []


def test_it_has_not_ended(failed: Seen) -> None:
    assert "x is running" in judge(replace(failed, report={**failed.report, "status": "running"}))[0]


def test_it_is_taken_back_though_all_went_well(failed: Seen) -> None:
    wrong = judge(replace(completed(failed), effects=failed.effects))
    assert any("5: a0 was taken back though" in problem for problem in wrong), wrong


@pytest.mark.parametrize(
    ("number", "more"),
    [
        ("13", event(9, "execution:stopping")),
        ("4", event(7, "execution:action:completed", "a0")),
        ("6", event(7, "execution:action:started", "a2")),
    ],
    ids=["a gap", "settled twice", "begun after the rollback"],
)
def test_an_event_too_many(failed: Seen, number: str, more: Json) -> None:
    wrong = judge(replace(failed, events=[*failed.events, more]))
    assert any(f"x: {number}: " in problem for problem in wrong), wrong


def test_progress_falls(failed: Seen) -> None:
    falls = [
        event(3, "execution:action:progress", "a0", fraction=0.5),
        event(4, "execution:action:progress", "a0", fraction=0.2),
    ]
    wrong = judge(replace(failed, events=[*failed.events[:2], *falls]))
    assert any("13: the progress of a0 fell" in problem for problem in wrong), wrong


def test_something_begins_after_a_cancellation(failed: Seen) -> None:
    wrong = judge(replace(failed, cancelled_seq=3))
    assert any("12: a1 began" in problem for problem in wrong), wrong


def test_how_long_a_takeover_took(failed: Seen) -> None:
    """From the fault to the next start, or to the decision; nothing where it had ended before."""
    held = Held("worker killed", 1500, "w1", "x", 0, "a0", alone=False, idempotent=False)
    assert taken_over_after(held, list(failed.events)) == 0.5
    assert taken_over_after(replace(held, at_ms=3500), list(failed.events)) is None
    assert taken_over_after(replace(held, action="a1", at_ms=4500), list(failed.events)) == 0.5
