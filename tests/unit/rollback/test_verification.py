"""Where the probes of `rollback.verify` stand in a way back."""

from executor.model.plan import Call, Step, group
from rollback.compensation import WayBackPlan
from rollback.verification import add_verification, add_verification_points

PROBES = [
    Step(id=f"verify/{number}", device="d", call=Call(uses="look"), purpose="verify", on_failure="continue")
    for number in (1, 2)
]


def way_back(*phases: str) -> WayBackPlan:
    """One group for each phase."""
    made = WayBackPlan()
    for names in phases:
        steps = [Step(id=name, device="d", call=Call(uses="x"), purpose="undo") for name in names.split()]
        made.steps.update({step.id: step for step in steps})
        made.phases.append([group(steps)])
    return made


def order(made: WayBackPlan) -> list[tuple[str, ...]]:
    return [stage.steps for stage in made.stages]


def test_at_the_end_the_state_before_is_proved() -> None:
    """One after the other, after everything else; each is a step of the plan."""
    made = way_back("u1 u2", "u3")
    add_verification(made, PROBES, length=25, fuse=True)
    assert order(made) == [("u1", "u2"), ("u3",), ("verify/1", "verify/2")]
    assert [made.steps[name].on_failure for name in ("verify/1", "verify/2")] == ["continue"] * 2
    assert (made.stages[-1].kind, made.stages[-1].name) == ("sequence", "verify")


def test_also_where_nothing_is_taken_back() -> None:
    """The state may hold all the same."""
    made = way_back()
    add_verification(made, PROBES, length=25, fuse=True)
    assert order(made) == [("verify/1", "verify/2")]


def test_after_each_phase_there_is_a_point_that_halts() -> None:
    """Points are numbered in the order in which they come; a probe of one point has an id of its own."""
    made = way_back("u1", "u2 u3", "u4")
    add_verification_points(made, PROBES, length=25, fuse=True)
    assert order(made) == [
        ("u1",),
        ("verify/1/1", "verify/2/1"),
        ("u2", "u3"),
        ("verify/1/2", "verify/2/2"),
        ("u4",),
        ("verify/1/3", "verify/2/3"),
    ]
    probes = [step for step in made.steps.values() if step.purpose == "verify"]
    assert len(probes) == 6
    assert {step.on_failure for step in probes} == {"stop"}
    assert set(made.steps) == {name for stage in made.stages for name in stage.steps}


def test_points_are_cut_and_fused_as_every_sequence() -> None:
    """As `execution.sequence_length` and `execution.fuse` say."""
    made = way_back("u1")
    add_verification_points(made, PROBES, length=1, fuse=True)
    assert order(made) == [("u1",), ("verify/1/1",), ("verify/2/1",)]
    apart = way_back("u1")
    add_verification(apart, PROBES, length=25, fuse=False)
    assert apart.stages[-1].messages == (("verify/1",), ("verify/2",))


def test_without_probes_nothing_is_added() -> None:
    """Neither at the end nor between phases."""
    for add in (add_verification, add_verification_points):
        made = way_back("u1", "u2")
        add(made, [], length=25, fuse=True)
        assert order(made) == [("u1",), ("u2",)]
