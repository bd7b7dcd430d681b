"""The way back by snapshot: what lies in one is taken back with it, the rest by itself; and what is kept."""

import json
from typing import Any

import pytest

from executor.model.plan import Call, Fallback, Plan, Stage, Step, WayBack, WayBackRule, group, sequence
from executor.model.rollback import Mechanism
from rollback.compensation import Wanted, WayBackPlan, plan_way_back
from rollback.earlier import Earlier
from rollback.snapshots import saved_states

CALL = Call(uses="change")


def saved(number: int, *covers: str, device: str = "d1", status: str = "succeeded") -> tuple[Step, dict[str, str]]:
    """A snapshot, with what the ledger says of it."""
    way = WayBack(rule="restores", call=CALL)
    step = Step(id=f"snapshot/{number}", device=device, call=CALL, purpose="snapshot", way_back=way)
    record = json.dumps({"data": {}, "target": "", "covers": covers})
    return step, {"status": status, "effect": "completed", "undo": record, "ord": str(number)}


def done(
    name: str, rule: WayBackRule = "restores", target: str = "/etc/a", *, device: str = "d1", local: bool = True,
    **more: Any,
) -> tuple[Step, dict[str, str]]:  # fmt: skip
    """An action that succeeded, with what the ledger says of it."""
    step = Step(id=name, device=device, call=CALL, way_back=WayBack(rule=rule, call=CALL, local=local), **more)
    record = json.dumps({"data": {"path": target}, "target": target})
    number = str(100 + ord(name[0]))
    row = {"status": "succeeded", "effect": "completed", "device": device, "ord": number}
    return step, {**row, **({"undo": record} if rule == "restores" else {})}


def back(
    *made: tuple[Step, dict[str, str]], mechanism: Mechanism = "snapshot", shape: str = "sequence", **wanted: Any
) -> WayBackPlan:
    """The snapshots are one group, what follows a sequence or another group."""
    steps = {step.id: step for step, _ in made}
    taken = [step for step in steps.values() if step.purpose == "snapshot"]
    acted = [step for step in steps.values() if step.purpose == "forward"]
    stages: list[Stage] = [group(taken)] if taken else []
    stages += sequence(acted, length=25, fuse=True) if shape == "sequence" else [group(acted)]
    rows = {step.id: row for step, row in made}
    return plan_way_back(
        Plan(stages=tuple(stages)), steps, rows, Wanted(mechanism=mechanism, **wanted), length=25, fuse=True
    )


def order(made: WayBackPlan) -> list[tuple[str, ...]]:
    return [stage.steps for stage in made.stages]


@pytest.mark.parametrize(
    ("covers", "target", "held"),
    [
        ("/etc", "/etc/a", True),
        ("/etc/", "/etc/a", True),
        ("/etc", "/etc", True),
        ("/", "/etc/a", True),
        ("/etc", "/etc2/a", False),
        ("/etc", "/etc2", False),
        ("/etc/a", "/etc", False),
        ("/srv", "/etc/a", False),
        ("postgres://db/shop", "postgres://db/shop", True),
        ("postgres://db/shop", "postgres://db/shop2", False),
    ],
)
def test_a_snapshot_holds_a_target_and_what_lies_below(covers: str, target: str, held: bool) -> None:
    """By whole parts of the path; what it holds is an undo only where it cannot be restored."""
    made = back(saved(1, covers), done("a", target=target))
    assert made.steps["a"].unless == ("snapshot/1" if held else None)
    assert made.steps["snapshot/1"].stands_for == (("a",) if held else ())
    assert order(made) == ([("snapshot/1",), ("a",)] if held else [("a",), ("snapshot/1",)])


def test_a_snapshot_of_another_device_holds_nothing() -> None:
    """The same path there is another file."""
    made = back(saved(1, "/etc", device="d2"), done("a"), done("b", "lacking"))
    assert made.steps["a"].unless is None
    assert made.steps["snapshot/1"].stands_for == ()
    assert [row.get("unless") for row in made.remaining] == [None]


def test_what_lacks_a_way_back_is_taken_for_held_by_the_snapshots_of_its_device() -> None:
    """All of them: it is left only where one could not be restored. Known once, named once."""
    here = saved(1, "/etc"), saved(2, "/srv"), saved(3, "/x", device="d2")
    made = back(*here, done("a", "lacking"), done("b"))
    assert [(row["action"], row["unless"]) for row in made.remaining] == [("a", ["snapshot/1", "snapshot/2"])]
    stands_for = {name: made.steps[name].stands_for for name in ("snapshot/1", "snapshot/2", "snapshot/3")}
    assert stands_for == {"snapshot/1": ("b", "a"), "snapshot/2": ("a",), "snapshot/3": ()}
    again = back(*here, done("a", "lacking"), done("b"), earlier=Earlier(done=frozenset({"snapshot/1", "b"})))
    assert [(row["action"], row["unless"]) for row in again.remaining] == [("a", ["snapshot/2"])]
    both = back(*here, done("a", "lacking"), earlier=Earlier(done=frozenset({"snapshot/1", "snapshot/2"})))
    assert both.remaining == []


def test_what_does_not_lie_on_its_device_no_snapshot_holds() -> None:
    """A call to another system is not taken back with the files from which it was made."""
    made = back(saved(1, "/"), done("a", "lacking", local=False))
    assert [row.get("unless") for row in made.remaining] == [None]
    assert made.steps["snapshot/1"].stands_for == ()


def test_a_snapshot_that_failed_holds_nothing() -> None:
    """Nor one that was not taken at all."""
    cut = saved(2, "/etc")[0], {"status": "running", "undo": json.dumps({"data": {}, "covers": ["/etc"]})}
    empty = saved(3, "/etc")[0], {"status": "succeeded"}
    made = [saved(1, "/etc", status="failed"), cut, empty]
    assert saved_states([step for step, _ in made], {step.id: row for step, row in made}) == []
    assert order(back(*made, done("a"))) == [("a",)]


def test_declared_compensations_run_before_the_restore() -> None:
    """Newest first; then what they did to files is put back; then, where that failed, what was held."""
    made = back(saved(1, "/etc"), done("a"), done("b", "completed"), done("c", "started"), done("e", "restores", "/x"))
    assert order(made) == [("e", "c", "b"), ("snapshot/1",), ("a",)]
    assert [phase[0].name for phase in made.phases] == ["", "snapshot", ""]
    assert [made.steps[name].unless for name in ("e", "c", "b", "a")] == [None, None, None, "snapshot/1"]


def test_what_was_held_goes_back_in_the_order_of_compensation() -> None:
    """As if there had been no snapshot: of a group one target one after the other."""
    actions = [done("a"), done("b", "restores", "/etc/b"), done("c")]
    assert order(back(saved(1, "/etc"), *actions))[1:] == [("c", "b", "a")]
    assert order(back(saved(1, "/etc"), *actions, shape="group"))[1:] == [("c", "b"), ("a",)]


def test_snapshots_of_a_device_go_back_one_after_the_other() -> None:
    """Newest first, as they may overlap; devices side by side."""
    made = back(saved(1, "/etc"), saved(2, "/etc/x"), saved(3, "/etc", device="d2"), done("a", "nothing"))
    assert order(made) == [("snapshot/3", "snapshot/2"), ("snapshot/1",)]


def test_a_fallback_that_is_held_is_undone_by_itself_only_where_need_be() -> None:
    """As its action is; one that is not held goes before the restore."""
    fallback = Fallback(call=CALL, way_back=WayBack(rule="restores", call=CALL))
    step, row = done("a", fallback=fallback)
    row |= {"effect_fallback": "completed", "undo_fallback": json.dumps({"data": {}, "target": "/srv/a"})}
    made = back(saved(1, "/srv"), (step, row))
    assert order(made) == [("a",), ("snapshot/1",), ("a/fallback",)]
    assert (made.steps["a/fallback"].unless, made.steps["a/fallback"].of_fallback) == ("snapshot/1", True)
    both = back(saved(1, "/"), (step, row))
    assert order(both) == [("snapshot/1",), ("a/fallback", "a")]
    assert both.steps["snapshot/1"].stands_for == ("a/fallback", "a")
    assert made.steps["snapshot/1"].stands_for == ("a/fallback",)


def test_other_mechanisms_leave_snapshots_alone() -> None:
    """Only who asks for it restores one."""
    made = back(saved(1, "/etc"), done("a"), done("b", "lacking"), mechanism="compensate")
    assert order(made) == [("a",)]
    assert [row.get("unless") for row in made.remaining] == [None]


def test_where_nothing_was_changed_nothing_is_restored() -> None:
    """What failed before its first effect left the world as it was."""
    step, row = done("a")
    assert back(saved(1, "/etc"), (step, {**row, "effect": "none"})).steps == {}


def test_a_snapshot_that_was_restored_before_is_not_restored_again() -> None:
    """What it stood for is done."""
    earlier = Earlier(done=frozenset({"snapshot/1", "a"}))
    made = back(saved(1, "/etc"), done("a"), done("b", "completed"), earlier=earlier)
    assert list(made.steps) == ["b"]


# -- partial ----------------------------------------------------------------------------------------------------------


def test_of_a_partial_rollback_the_rest_is_kept() -> None:
    """In the order of the strategy; what had no effect is not kept, nor what is listed anyway."""
    nothing, row = done("d", "completed")
    made = back(
        done("a"), done("b", "completed"), done("c", "lacking"), (nothing, {**row, "effect": "none"}),
        done("e", "nothing"), done("f", "none"), mechanism="partial", only=frozenset("b"),
    )  # fmt: skip
    assert (list(made.steps), made.kept, made.remaining) == (["b"], ["a", "c"], [])


def test_an_action_is_kept_once_with_its_fallback() -> None:
    """They are one to whoever chose."""
    fallback = Fallback(call=CALL, way_back=WayBack(rule="completed", call=CALL))
    step, row = done("a", fallback=fallback)
    acted = step, {**row, "effect_fallback": "completed"}
    assert back(acted, mechanism="partial", only=frozenset()).kept == ["a"]
    assert order(back(acted, mechanism="partial", only=frozenset("a"))) == [("a/fallback", "a")]


def test_what_an_earlier_rollback_did_is_not_kept() -> None:
    """It is not there any more."""
    made = back(done("a"), done("b"), mechanism="partial", only=frozenset("b"), earlier=Earlier(done=frozenset("a")))
    assert (list(made.steps), made.kept) == (["b"], [])


def test_what_an_earlier_rollback_left_is_not_kept_but_left() -> None:
    """Nobody chose to keep it: it stays on the list; what that one kept is kept again."""
    earlier = Earlier(touched=frozenset("a"), listed=frozenset("c"))
    acted = done("a"), done("b"), done("c", "lacking"), done("d"), done("e", "lacking")
    made = back(*acted, mechanism="partial", only=frozenset("b"), earlier=earlier)
    assert (list(made.steps), made.kept) == (["b"], ["d", "e"])
    assert {row["action"]: row["reason"] for row in made.remaining} == {
        "a": "an earlier rollback could not take it back, and it was not asked for now",
        "c": "it was done, and no way back is declared",
    }


def test_force_and_the_quiet_time_are_told_to_each_step() -> None:
    """What restores compares by them what others changed."""
    made = back(saved(1, "/etc"), done("a"), done("b", "completed"), force=True, quiet_ms=(3, 9))
    assert {(step.force, step.quiet_ms) for step in made.steps.values()} == {(True, (3, 9))}
    assert {step.id for step in made.steps.values() if step.idempotent} == {"snapshot/1", "a"}
