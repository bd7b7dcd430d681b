"""What people read of a rollback before it: the plan, and what a guided one offers."""

from typing import Any

import pytest

from executor.model.plan import Call, Reads, Step, WayBack, group, sequence
from executor.model.rollback import Chosen, Estimate
from rollback.compensation import WayBackPlan
from rollback.preview import how_of, needs_of, shown_offer, shown_plan

UNDO = Call(uses="command", with_={"run": "./ctl down ${{ inputs.port }}"})
FORWARD = {
    name: Step(id=name, device="d1", call=Call(uses="file.edit", with_={"path": f"/etc/{name}"})) for name in "abc"
}
ROWS = {
    "a": {"status": "succeeded", "effect": "completed", "started": "1000", "finished": "2500", "device": "d7"},
    "b": {"status": "failed", "effect": "started"},
    "c": {"status": "succeeded", "effect": "completed"},
}


def told(text: str, action: str) -> str:
    return f"{text} [{action}]"


def undo(name: str, **more: Any) -> Step:
    made = {"purpose": "undo", "undoes": name.partition("/fallback")[0], **more}
    return Step(id=name, device="d1", call=UNDO, **made)


def planned(*steps: Step, **more: Any) -> WayBackPlan:
    return WayBackPlan(
        phases=[sequence(list(steps), length=25, fuse=True)], steps={step.id: step for step in steps}, **more
    )


def test_a_plan_is_shown_step_by_step() -> None:
    """Where, how, what, what for and for how long; with what is kept and what stays."""
    left = {"action": "c", "device": "d1", "reason": "no way back", "what": "file.edit /etc/c"}
    made = planned(undo("a"), kept=["b"], remaining=[left])
    estimates = Estimate(mechanism="phased", seconds=9.0), Estimate(mechanism="partial", seconds=1.5)
    chosen = Chosen(mechanism="partial", asked="partial", estimates=estimates, by="ann")
    assert shown_plan(made, chosen, FORWARD, ROWS, tell=told) == {
        "mechanism": "partial",
        "chosen": chosen.model_dump(mode="json"),
        "stages": [
            {
                "kind": "sequence",
                "name": "",
                "steps": [
                    {
                        "step": "a",
                        "action": "a",
                        "device": "d1",
                        "how": "compensate",
                        "what": "command ./ctl down ${{ inputs.port }} [a]",
                        "undoes": "file.edit /etc/a [a]",
                        "seconds": 1.5,
                    }
                ],
            }
        ],
        "steps": 1,
        "seconds": 1.5,
        "kept": ["b"],
        "remaining": [left],
    }


def test_what_hangs_together_with_a_snapshot_is_shown() -> None:
    """An undo that stands by, and what a restore takes along; a probe undoes nothing."""
    probe = Step(id="verify/1", device="d1", call=UNDO, purpose="verify")
    made = planned(undo("snapshot/1", stands_for=("a", "b")), undo("a", unless="snapshot/1"), probe)
    shown = shown_plan(made, Chosen(mechanism="snapshot", asked="adaptive"), FORWARD, ROWS, tell=told)
    restore, held, asked = shown["stages"][0]["steps"]
    assert (restore["stands_for"], "unless" in restore) == (["a", "b"], False)
    assert (held["unless"], "stands_for" in held) == ("snapshot/1", False)
    assert (asked["action"], asked["undoes"], asked["how"]) == (None, None, "verify")
    assert (shown["seconds"], shown["steps"]) == (None, 3)


def test_steps_are_counted_over_all_phases() -> None:
    """Each stage is shown with its name."""
    made = WayBackPlan(phases=[[group([undo("a")], "prepare")], [group([undo("b")])]])
    made.steps = {name: undo(name) for name in "ab"}
    shown = shown_plan(made, Chosen(mechanism="phased", asked="phased"), FORWARD, ROWS, tell=told)
    assert (shown["steps"], [stage["name"] for stage in shown["stages"]]) == (2, ["prepare", ""])


@pytest.mark.parametrize(
    ("step", "how"),
    [
        (undo("a"), "compensate"),
        (undo("a", method="compensate"), "compensate"),
        (undo("a", method="compensate", idempotent=True), "restore"),
        (undo("a", idempotent=True), "compensate"),
        (undo("a", probe=UNDO), "probe, then compensate"),
        (undo("snapshot/1", method="compensate", idempotent=True), "restore snapshot"),
        (undo("verify/1", purpose="verify", undoes=None), "verify"),
    ],
)
def test_each_step_says_how_it_undoes(step: Step, how: str) -> None:
    """In a word that people know."""
    assert how_of(step) == how


# -- offers -----------------------------------------------------------------------------------------------------------


def test_an_offer_names_each_action_that_can_be_chosen() -> None:
    """What its undo would do, or why there is none; only what failed in the open stage can be tried again."""
    left = [{"action": "c", "reason": "no way back"}]
    offer = shown_offer(planned(undo("a/fallback"), undo("a"), remaining=left), FORWARD, ROWS, stage="b", tell=told)
    assert list(offer) == ["a", "b", "c"]
    assert {name: (one["status"], one["device"], one["cannot"], one["wishes"]) for name, one in offer.items()} == {
        "a": ("succeeded", "d7", None, ["undo", "keep"]),
        "b": ("failed", "d1", None, ["undo", "keep", "retry"]),
        "c": ("succeeded", "d1", "no way back", ["undo", "keep"]),
    }
    assert [step["step"] for step in offer["a"]["undo"]] == ["a/fallback", "a"]
    assert offer["b"]["undo"] == offer["c"]["undo"] == []
    assert offer["a"]["done"] == "file.edit /etc/a [a]"


def test_what_did_nothing_is_not_offered() -> None:
    """Nor what failed in an earlier stage without an effect, nor snapshots and probes."""
    saved = {"snapshot/1": FORWARD["a"].model_copy(update={"id": "snapshot/1", "purpose": "snapshot"})}
    probe = Step(id="verify/1", device="d1", call=UNDO, purpose="verify")
    made = planned(undo("a"), undo("snapshot/1"), probe)
    assert list(shown_offer(made, {**saved, **FORWARD}, ROWS, stage=(), tell=told)) == ["a"]


@pytest.mark.parametrize(
    ("status", "retries"),
    [("failed", True), ("timed_out", True), ("cancelled", False), ("succeeded", False), ("skipped", False)],
)
def test_only_what_failed_is_tried_again(status: str, retries: bool) -> None:
    """What was broken off goes on by itself when something is tried again."""
    offer = shown_offer(planned(undo("a")), FORWARD, {"a": {"status": status}}, stage="a", tell=told)
    assert ("retry" in offer["a"]["wishes"]) == retries


def chain(**more: Any) -> dict[str, Step]:
    """``b`` says something of ``a``."""
    return {"a": FORWARD["a"], "b": FORWARD["b"].model_copy(update=more)}


READS = Reads(actions=("a",))


@pytest.mark.parametrize(
    ("more", "effect", "needed"),
    [
        ({"needs": (("a", False),)}, "completed", True),
        ({"needs": (("a", True),)}, "started", True),
        ({"needs": (("a", False),)}, "none", False),
        ({"reads": READS, "way_back": WayBack(rule="completed")}, "completed", True),
        ({"reads": READS, "way_back": WayBack(rule="lacking")}, "unknown", True),
        ({"reads": READS}, "completed", False),
        ({}, "completed", False),
    ],
)
def test_what_needs_an_action_is_known(more: dict[str, Any], effect: str, needed: bool) -> None:
    """By its `needs`, or as it was made of the other's result; what did nothing, or only looked, needs nothing."""
    rows = {"a": {"effect": "completed"}, "b": {"effect": effect}}
    assert needs_of(chain(**more), rows) == ({"a": ["b"]} if needed else {})
