"""What earlier rollbacks did is not done again."""

from typing import Any

import pytest

from executor.model.plan import Call, Plan, Step, WayBack, WayBackRule, group
from executor.taken_back import Generation
from rollback.compensation import Wanted, WayBackPlan, plan_way_back
from rollback.earlier import Earlier, read_earlier

CALL = Call(uses="change")


def undo(name: str, **more: Any) -> Step:
    return Step(id=name, device="d", call=CALL, **{"purpose": "undo", "undoes": name, **more})


def read(*rows: dict[str, str], **more: Any) -> Earlier:
    """What is known of the undo of ``a`` after generations in which it ended so."""
    return read_earlier(Generation({"a": undo("a", **more)}, {"a": row}) for row in rows)


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
    assert read() == Earlier()
    assert read({"status": "running", "effect": "unknown"}).doubtful == frozenset()


def restored(*statuses: str, **held: str) -> Earlier:
    """After snapshots that all stand for ``a`` and ``b/fallback``, and the undos that stood by, ended so."""
    steps = [undo(f"snapshot/{number}", stands_for=("a", "b/fallback")) for number in range(1, len(statuses) + 1)]
    rows = {step.id: {"status": status} for step, status in zip(steps, statuses, strict=True)}
    rows |= {name.replace("_", "/"): {"status": status} for name, status in held.items()}
    standing_by = [undo(name, unless="snapshot/1") for name in ("a", "b/fallback")]
    return read_earlier([Generation({step.id: step for step in (*steps, *standing_by)}, rows)])


@pytest.mark.parametrize(
    ("statuses", "done"),
    [
        (["succeeded"], {"snapshot/1", "a", "b/fallback"}),
        (["skipped"], {"snapshot/1"}),
        (["failed"], set()),
        (["succeeded", "succeeded"], {"snapshot/1", "snapshot/2", "a", "b/fallback"}),
        (["succeeded", "failed"], {"snapshot/1"}),
        (["failed", "succeeded"], {"snapshot/2"}),
    ],
)
def test_restored_snapshots_did_what_they_stand_for(statuses: list[str], done: set[str]) -> None:
    """Where several hold one, only all of them together did it."""
    assert restored(*statuses).done == done


def test_a_snapshot_whose_work_was_done_without_it_is_done() -> None:
    """It is not put over what was undone by itself; where one of these failed it may still help."""
    assert restored("failed", a="succeeded", b_fallback="skipped").done == {"snapshot/1", "a", "b/fallback"}
    assert restored("failed", a="succeeded", b_fallback="failed").done == {"a"}


def test_probes_are_no_undos() -> None:
    """They are asked again each time."""
    steps = {"verify/1": undo("verify/1", purpose="verify", undoes=None), "a": undo("a")}
    rows = {"verify/1": {"status": "succeeded"}, "a": {"status": "failed"}}
    found = read_earlier([Generation(steps, rows)])
    assert (found.done, found.touched) == (frozenset(), {"a"})


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
    reason = "taking it back was broken off before, and nobody knows how far it came (--force does it again)"
    listed = planned(earlier)
    assert listed.steps == {}
    assert listed.remaining == [{"action": "a", "device": "d", "reason": reason, "what": "change"}]
    forced = planned(earlier, force=True)
    assert (list(forced.steps), forced.remaining) == (["a"], [])
    assert forced.steps["a"].force
