"""How the report tells a rollback: what became of each undo over several goes, and what is left for a person."""

import json
from typing import Any

import pytest
from support.ledgers import Tried, in_group

from executor.ledger.memory import MemoryLedger
from executor.model.plan import Call, Step
from executor.taken_back import Generation, generations, remaining, rollback_section, undone

CALL = Call(uses="command", with_={"run": "./ctl down"})
WRONG = json.dumps({"error": {"message": "wrong"}})
FORWARD = {
    name: Step(id=name, device="d1", call=Call(uses="command", with_={"run": f"./ctl {name}"})) for name in "abc"
}
LISTED = {"action": "c", "device": "d1", "reason": "no way back", "what": "command ./ctl c"}


def undo(name: str, **more: Any) -> Step:
    made = {"purpose": "undo", "undoes": name.partition("/fallback")[0], **more}
    return Step(id=name, device="d2", call=CALL, **made)


def probe(name: str) -> Step:
    return undo(name, purpose="verify", undoes=None)


def go(*steps: Step, **became: str | dict[str, str]) -> Generation:
    """One way back; of each step its status or its whole row, by its id with ``_`` for ``/``."""
    rows: dict[str, dict[str, str]] = {}
    for number, step in enumerate(steps):
        told = became.get(step.id.replace("/", "_"), "")
        rows[step.id] = {"ord": str(number), **({"status": told} if isinstance(told, str) and told else {})}
        rows[step.id] |= told if isinstance(told, dict) else {}
    return Generation({step.id: step for step in steps}, rows)


def left(last: Generation | None, **head: Any) -> list[tuple[str, str]]:
    """Action and reason of each that is left."""
    found = remaining({name: json.dumps(value) for name, value in head.items()}, FORWARD, last)
    return [(row["action"], row["reason"]) for row in found]


# -- what is left -----------------------------------------------------------------------------------------------------


def test_without_a_way_back_what_was_known_beforehand_is_left() -> None:
    """As it was written; also what a snapshot would have held."""
    assert remaining({}, FORWARD, None) == []
    head = {"remaining": json.dumps([LISTED, {**LISTED, "action": "b", "unless": ["snapshot/1"]}])}
    assert remaining(head, FORWARD, None) == [LISTED, {**LISTED, "action": "b"}]


@pytest.mark.parametrize(
    ("first", "second", "listed"),
    [("succeeded", "succeeded", 0), ("succeeded", "failed", 1), ("failed", "succeeded", 1), ("succeeded", "", 1)],
)
def test_what_snapshots_hold_is_left_unless_all_were_restored(first: str, second: str, listed: int) -> None:
    """One of them may be the one that held it."""
    steps = undo("snapshot/1"), undo("snapshot/2")
    last = go(*steps, snapshot_1=first, snapshot_2=second)
    told = left(last, remaining=[{**LISTED, "unless": ["snapshot/1", "snapshot/2"]}])
    assert told.count(("c", "no way back")) == listed


@pytest.mark.parametrize("status", ["failed", "timed_out", "cancelled"])
def test_an_undo_that_failed_is_left_with_its_error(status: str) -> None:
    """With what was done, on the device of the undo."""
    last = go(undo("a"), undo("b"), a={"status": status, "outcome": WRONG}, b="succeeded")
    (row,) = remaining({}, FORWARD, last)
    assert row == {"action": "a", "device": "d2", "reason": "wrong", "what": "command ./ctl a"}


@pytest.mark.parametrize("status", ["succeeded", "skipped"])
def test_what_was_undone_or_had_not_been_done_is_not_left(status: str) -> None:
    """Nothing is to be seen to."""
    assert left(go(undo("a"), a=status)) == []


def test_what_was_not_begun_is_left_with_why() -> None:
    """The rollback was cut, or halted: the reason is that of the stop."""
    assert left(go(undo("a"))) == [("a", "the rollback ended before its turn")]
    told = left(go(undo("a"), a="cancelled"), halted={"message": "its time is over"})
    assert told == [("a", "the rollback ended before its turn: its time is over")]


def test_a_probe_that_does_not_hold_is_left_and_later_ones_are_not_asked() -> None:
    """It names itself; what it kept from being undone is left, what is not asked is not."""
    steps = undo("b"), probe("verify/1/1"), undo("a"), probe("verify/1/2")
    halted = go(*steps, b="succeeded", verify_1_1={"status": "failed", "outcome": WRONG})
    assert left(halted, halted={"message": "wrong"}) == [
        ("verify/1/1", "wrong"),
        ("a", "the rollback ended before its turn: wrong"),
    ]
    told = remaining({}, FORWARD, halted)
    assert told[0]["what"] == "rollback.verify/1/1: command ./ctl down"
    assert not halted.verified


def test_a_probe_that_was_never_asked_is_left_where_nothing_halted() -> None:
    """The rollback was cut before it: nobody knows whether the state holds."""
    cut = go(undo("a"), probe("verify/1"), a="succeeded")
    assert left(cut, halted={"message": "late"}) == [("verify/1", "the rollback ended before its turn: late")]
    assert not cut.verified
    assert go(undo("a"), probe("verify/1"), verify_1="succeeded").verified


@pytest.mark.parametrize(
    ("restored", "held", "reasons"),
    [
        ("succeeded", "", []),
        ("succeeded", "skipped", []),
        ("failed", "succeeded", ["wrong"]),
        ("failed", "", ["wrong", "the rollback ended before its turn"]),
        ("", "", ["the rollback ended before its turn"] * 2),
    ],
)
def test_an_undo_that_stands_by_is_left_only_where_it_was_needed(restored: str, held: str, reasons: list[str]) -> None:
    """A restored snapshot did its work, whether it was asked or not."""
    outcome = {"outcome": WRONG} if restored == "failed" else {}
    row = {"status": restored, **outcome} if restored else ""
    last = go(undo("snapshot/1"), undo("a", unless="snapshot/1"), snapshot_1=row, a=held)
    assert [reason for _, reason in left(last)] == reasons


@pytest.mark.parametrize(
    ("held", "other", "covered"),
    [
        ("succeeded", "succeeded", True),
        ("succeeded", "skipped", True),
        ("succeeded", "failed", False),
        ("succeeded", "", False),
    ],
)
def test_a_restore_whose_work_was_done_without_it_is_not_left(held: str, other: str, covered: bool) -> None:
    """Of everything that it held; what was not taken back by itself the snapshot may still hold."""
    restore = undo("snapshot/1", stands_for=("a", "b/fallback"))
    steps = restore, *(undo(name, unless="snapshot/1") for name in ("a", "b/fallback"))
    last = go(*steps, snapshot_1={"status": "failed", "outcome": WRONG}, a=held, b_fallback=other)
    assert last.covered(restore) == covered
    assert (("snapshot/1", "wrong") not in left(last)) == covered
    lacking = undo("snapshot/1", stands_for=("a", "c"))
    assert not go(lacking, steps[1], snapshot_1="failed", a="succeeded").covered(lacking)
    assert not go(undo("a"), a="failed").covered(undo("a"))


# -- what became of it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statuses", "told"),
    [
        (["succeeded"], "compensated"),
        (["failed"], "failed"),
        (["timed_out"], "failed"),
        (["cancelled"], "failed"),
        (["skipped"], None),
        ([""], None),
        (["failed", "succeeded"], "compensated"),
        (["failed", "failed"], "failed"),
        (["failed", ""], "failed"),
        (["", "succeeded"], "compensated"),
        (["skipped", "failed"], "failed"),
    ],
)
def test_the_last_go_over_an_undo_counts(statuses: list[str], told: str | None) -> None:
    """One that never came to it changes nothing."""
    goes = [go(undo("a"), a=status) for status in statuses]
    assert undone(goes).get("a") == told


def test_of_an_action_and_its_fallback_the_worse_counts() -> None:
    """Each by its own last go."""
    both = undo("a/fallback"), undo("a")
    first = go(*both, a_fallback="failed", a="succeeded")
    assert undone([first]) == {"a": "failed"}
    assert undone([first, go(both[0], a_fallback="succeeded")]) == {"a": "compensated"}
    assert undone([go(*both, a_fallback="succeeded", a="skipped")]) == {"a": "compensated"}


def test_a_restored_snapshot_compensates_what_it_stands_for() -> None:
    """Where it was not restored, what became of each by itself counts."""
    steps = undo("snapshot/1", stands_for=("a", "b")), undo("a", unless="snapshot/1")
    restored = go(*steps, snapshot_1="succeeded", a="skipped")
    assert undone([restored]) == {"snapshot/1": "compensated", "a": "compensated", "b": "compensated"}
    assert undone([go(*steps, snapshot_1="failed", a="succeeded")]) == {"snapshot/1": "failed", "a": "compensated"}


def test_several_snapshots_compensate_only_together() -> None:
    """One of them may be the one that held it; of a fallback its action is told."""
    steps = [undo(f"snapshot/{number}", stands_for=("a", "b/fallback")) for number in (1, 2)]
    assert go(*steps, snapshot_1="succeeded", snapshot_2="succeeded").restored() == {"a", "b/fallback"}
    for other in ("failed", "skipped", ""):
        assert go(*steps, snapshot_1="succeeded", snapshot_2=other).restored() == set()
        assert go(*steps, snapshot_1=other, snapshot_2="succeeded").restored() == set()
    told = undone([go(*steps, snapshot_1="succeeded", snapshot_2="succeeded")])
    assert (told["a"], told["b"]) == ("compensated", "compensated")
    assert "b/fallback" not in told


def test_undos_are_told_in_the_order_in_which_they_began() -> None:
    """Only those that succeeded; no probe."""
    last = go(undo("a"), undo("b"), undo("c"), probe("verify/1"), b="succeeded", c="failed", verify_1="succeeded")
    last.rows["a"] = {"status": "succeeded", "ord": "9"}  # type: ignore[index]
    assert last.succeeded() == ["b", "a"]


# -- the section ------------------------------------------------------------------------------------------------------


def section(*goes: Generation, ended: bool = True, **head: Any) -> dict[str, Any]:
    plain = {name: value if isinstance(value, str) else json.dumps(value) for name, value in head.items()}
    return rollback_section(plain, FORWARD, list(goes), ended=ended)


def test_without_a_rollback_there_is_nothing_to_tell() -> None:
    """And while it is being planned nothing but that."""
    nothing = {"mechanism": None, "compensated": [], "remaining": []}
    assert section() == {"status": "not_needed", **nothing}
    assert section(ended=False, rb_started="1") == {"status": "running", **nothing}
    told = section(ended=False, rb_started="1", offer={"actions": {}})
    assert told == {"status": "running", **nothing, "offer": {"actions": {}}}


def test_every_go_is_told() -> None:
    """What each compensated, in order, with restored snapshots apart; what is left is that of the last one."""
    restore = {"status": "succeeded", "device": "d1", "attempt": "2"}
    first = go(
        undo("a"), undo("b"), a={"status": "failed", "outcome": WRONG}, b={"status": "succeeded", "attempt": "1"}
    )
    second = go(undo("snapshot/1", stands_for=("a",)), snapshot_1=restore)
    chosen = {"mechanism": "snapshot", "kept": ["c"]}
    told = section(first, second, rb_status="completed", chosen=chosen)
    assert told == {
        "status": "completed",
        "mechanism": "snapshot",
        "compensated": [{"action": "b", "device": None, "attempts": 1}],
        "remaining": [],
        "restored": [{"action": "snapshot/1", "device": "d1", "attempts": 2}],
        "kept": ["c"],
        "chosen": chosen,
    }
    assert section(second, first, rb_status="partial", chosen=chosen)["remaining"][0]["action"] == "a"


def test_what_is_left_is_told_when_it_is_known() -> None:
    """Not while a rollback is still at it."""
    last = go(undo("a"), a={"status": "failed", "outcome": WRONG})
    assert section(last, ended=False, rb_started="1", chosen={"mechanism": "compensate"})["remaining"] == []


class Sorted(MemoryLedger):
    """One that does not keep the order of steps."""

    def steps(self, execution: str, generation: int) -> dict[str, Step]:
        return dict(sorted(super().steps(execution, generation).items()))


def test_steps_of_a_go_are_in_the_order_of_its_plan() -> None:
    """What is left is told in the order in which it was to be taken back."""
    tried = Tried(Sorted()).fail()
    tried.begin(in_group([undo("c"), undo("a")]), in_group([undo("b")]))
    (only,) = generations(tried.ledger, "E1", tried.ledger.head("E1"))
    assert list(only.steps) == list(only.rows) == ["c", "a", "b"]


def test_all_goes_of_an_execution_are_read() -> None:
    """Also while a later one is being planned, and none of one that was never taken back."""
    ledger = MemoryLedger()
    tried = Tried(ledger).start(in_group("a b"))
    assert generations(ledger, "E1", ledger.head("E1")) == []
    tried.do("a")
    tried.do("b", status="failed")
    tried.go_back(1, "failed", rollback="partial")
    tried.reopen()
    (first,) = generations(ledger, "E1", ledger.head("E1"))
    assert first.status("u") == "failed"
    tried.go_back(2)
    assert [one.status("u") for one in generations(ledger, "E1", ledger.head("E1"))] == ["failed", "succeeded"]
