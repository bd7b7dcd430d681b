"""What earlier rollbacks did is not done again."""

from typing import Any

import pytest

from executor.model.plan import Call, Plan, Step, WayBack, WayBackRule, group
from rollback.compensation import Wanted, WayBackPlan, plan_way_back
from rollback.earlier import Earlier, read_earlier

CALL = Call(uses="change")


def undo(name: str, **more: Any) -> Step:
    return Step(id=name, device="d", call=CALL, **{"purpose": "undo", "undoes": name, **more})


def read(*rows: dict[str, str], **more: Any) -> Earlier:
    """What is known of the undo of ``a`` after generations in which it ended so."""
    return read_earlier([({"a": undo("a", **more)}, {"a": row}) for row in rows])


@pytest.mark.parametrize("status", ["succeeded", "skipped"])
def test_what_was_taken_back_is_done(status: str) -> None:
    """Skipped: it had not been done at all, or a snapshot held it; a later failure does not change that."""
    assert read({"status": status}).done == {"a"}
    assert read({"status": status}, {"status": "failed", "effect": "unknown"}).done == {"a"}
    assert read({"status": status}, {"status": "failed", "effect": "unknown"}).doubtful == frozenset()


@pytest.mark.parametrize("status", ["failed", "timed_out", "cancelled"])
@pytest.mark.parametrize(
    ("effect", "idempotent", "doubtful"),
    [
        ("unknown", False, True),
        ("completed", False, True),
        ("started", False, False),
        ("none", False, False),
        ("unknown", True, False),
    ],
)
def test_what_was_broken_off_is_in_doubt_unless_it_may_run_again(
    status: str, effect: str, idempotent: bool, doubtful: bool
) -> None:
    """It is not done either."""
    found = read({"status": status, "effect": effect}, idempotent=idempotent)
    assert (found.done, "a" in found.doubtful) == (frozenset(), doubtful)


def test_what_a_later_rollback_did_is_in_doubt_no_more() -> None:
    """Nor is what it never came to."""
    assert read({"status": "failed", "effect": "unknown"}, {"status": "succeeded"}) == Earlier(
        done=frozenset("a"), touched=frozenset("a")
    )
    assert read({}) == Earlier(touched=frozenset("a"))
    assert read({"status": "running", "effect": "unknown"}).doubtful == frozenset()


@pytest.mark.parametrize(("status", "done"), [("succeeded", {"snapshot/1", "a", "b"}), ("skipped", {"snapshot/1"})])
def test_a_restored_snapshot_did_what_it_stands_for(status: str, done: set[str]) -> None:
    """Not where it was not restored."""
    restore = undo("snapshot/1", stands_for=("a", "b"))
    assert read_earlier([({"snapshot/1": restore}, {"snapshot/1": {"status": status}})]).done == done


def test_probes_are_no_undos() -> None:
    """They are asked again each time; when everything ended is known of all of them."""
    steps = {"verify/1": undo("verify/1", purpose="verify", undoes=None), "a": undo("a")}
    rows = {"verify/1": {"status": "succeeded", "finished": "7"}, "a": {"status": "failed", "finished": "5"}}
    found = read_earlier([(steps, rows)])
    assert (found.done, found.touched, found.ends_ms) == (frozenset(), {"a"}, (7, 5))


def planned(earlier: Earlier, rule: WayBackRule = "completed", *, force: bool = False) -> WayBackPlan:
    step = Step(id="a", device="d", call=CALL, way_back=WayBack(rule=rule, call=CALL))
    row = {"a": {"status": "succeeded", "effect": "completed", "ord": "1"}}
    wanted = Wanted(earlier=earlier, force=force)
    return plan_way_back(Plan(stages=(group([step]),)), {"a": step}, row, wanted, length=25, fuse=True)


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("rule", ["completed", "started", "lacking"])
def test_what_is_done_is_never_planned_again(rule: WayBackRule, force: bool) -> None:
    """Not even by force, and it is not left either."""
    made = planned(Earlier(done=frozenset("a")), rule, force=force)
    assert (made.steps, made.remaining, made.stages, made.kept) == ({}, [], [], [])


def test_what_is_in_doubt_is_listed_unless_forced() -> None:
    """A person decides."""
    earlier = Earlier(doubtful=frozenset("a"))
    listed = planned(earlier)
    assert listed.steps == {}
    reason = "taking it back was broken off before, and nobody knows how far it came (--force does it again)"
    assert listed.remaining == [{"action": "a", "device": "d", "reason": reason, "what": "change"}]
    forced = planned(earlier, force=True)
    assert (list(forced.steps), forced.remaining) == (["a"], [])
    assert forced.steps["a"].force
