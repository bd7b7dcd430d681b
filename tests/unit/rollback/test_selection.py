"""Which way back is chosen, and what is said of it."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.model.plan import Call, Step, group, sequence
from executor.model.rollback import Estimate, Mechanism
from rollback.compensation import WayBackPlan
from rollback.selection import OLD_S, Facts, choose, estimate, seconds_of

NAMES: tuple[Mechanism, ...] = ("compensate", "phased", "snapshot", "partial")
CRITICAL = {"classification": {"severity": "critical", "category": "external"}}


def way(mechanism: Mechanism, **more: Any) -> Estimate:
    return Estimate(mechanism=mechanism, **more)


def facts(**more: Any) -> Facts:
    return Facts(**{"error": None, "actions": 3, "age_s": 1.0, "verifies": False, **more})


ESTIMATES = st.lists(st.sampled_from(NAMES), min_size=1, unique=True).flatmap(
    lambda names: st.tuples(
        *(
            st.builds(
                Estimate,
                mechanism=st.just(name),
                possible=st.booleans(),
                reason=st.just("why not"),
                left=st.integers(0, 2),
                seconds=st.sampled_from([0.0, 1.0, 1.1, 10.0]),
            )
            for name in names
        )
    )
)
FACTS = st.builds(
    Facts,
    error=st.sampled_from([None, {}, CRITICAL, {"classification": {"severity": "low"}}]),
    actions=st.integers(0, 5),
    age_s=st.sampled_from([0.0, OLD_S, OLD_S + 1.0]),
    verifies=st.booleans(),
)


@given(ESTIMATES, FACTS)
def test_nothing_is_left_undone_that_could_be_undone(estimates: tuple[Estimate, ...], known: Facts) -> None:
    """Of the possible ways it is one of those that leave the least; reasons are given; the same again is the same."""
    possible = [one for one in estimates if one.possible]
    if not possible:
        with pytest.raises(ValueError, match="no possible way back"):
            choose(estimates, known)
        return
    chosen = choose(estimates, known)
    taken = next(one for one in estimates if one.mechanism == chosen.mechanism)
    assert taken.possible
    assert taken.left == min(one.left for one in possible)
    assert chosen.asked == "adaptive"
    assert chosen.estimates == estimates
    assert chosen.reasons
    assert all(chosen.reasons)
    assert choose(estimates, known) == chosen
    for one in possible:
        said = f"{one.mechanism} would leave {one.left} undone"
        assert (said in chosen.reasons) == (one.left > taken.left)


@given(ESTIMATES, FACTS)
def test_the_order_of_the_estimates_decides_nothing(estimates: tuple[Estimate, ...], known: Facts) -> None:
    """Only what they say."""
    if any(one.possible for one in estimates):
        assert choose(estimates, known).mechanism == choose(estimates[::-1], known).mechanism


def test_all_else_being_equal_action_by_action_comes_first() -> None:
    """It leaves alone what others changed since; and says so."""
    chosen = choose([way("snapshot"), way("compensate")], facts())
    assert chosen.mechanism == "compensate"
    assert chosen.reasons == (
        "undo is known for all 3 actions with effects",
        "compensate undoes action by action, and leaves what others changed since",
    )


def test_a_way_that_leaves_less_is_taken_however_slow() -> None:
    """What the others would leave is said."""
    chosen = choose([way("compensate", left=2, seconds=0.1), way("snapshot", left=1, seconds=99.0)], facts())
    assert chosen.mechanism == "snapshot"
    assert chosen.reasons == ("1 effects stay in any case, for a person", "compensate would leave 2 undone")


@pytest.mark.parametrize(("seconds", "mechanism"), [(7.9, "snapshot"), (8.0, "compensate"), (9.0, "compensate")])
def test_a_snapshot_is_restored_for_its_speed_only_where_that_is_clear(seconds: float, mechanism: str) -> None:
    """Estimates are no better than that."""
    chosen = choose([way("compensate", seconds=10.0), way("snapshot", seconds=seconds)], facts())
    assert chosen.mechanism == mechanism
    assert (f"snapshot takes {seconds:g} s, compensate 10 s" in chosen.reasons) == (mechanism == "snapshot")


@pytest.mark.parametrize(("age_s", "mechanism"), [(OLD_S, "snapshot"), (OLD_S + 60, "compensate")])
def test_an_old_snapshot_is_not_restored_for_its_speed(age_s: float, mechanism: str) -> None:
    """It could overwrite what others did since; where nothing else leaves as little it is restored all the same."""
    estimates = [way("compensate", seconds=10.0), way("snapshot", seconds=1.0)]
    chosen = choose(estimates, facts(age_s=age_s))
    assert chosen.mechanism == mechanism
    said = "what was saved is 11 min old: restoring it could overwrite what others did since"
    assert (said in chosen.reasons) == (mechanism == "compensate")
    assert choose(estimates[1:], facts(age_s=age_s)).mechanism == "snapshot"


@pytest.mark.parametrize(
    ("error", "verifies", "mechanism"),
    [(CRITICAL, True, "phased"), (CRITICAL, False, "compensate"), (None, True, "compensate"), ({}, True, "compensate")],
)
def test_a_state_in_doubt_is_proved_after_each_phase(error: Any, verifies: bool, mechanism: str) -> None:
    """Where there are probes, and the error is critical."""
    chosen = choose([way("compensate"), way("phased")], facts(error=error, verifies=verifies))
    assert chosen.mechanism == mechanism
    assert ("the error leaves the state in doubt: it is proved after each phase" in chosen.reasons) == (
        mechanism == "phased"
    )


@pytest.mark.parametrize(("left", "mechanism"), [(0, "partial"), (1, "compensate")])
def test_the_actions_that_are_named_are_taken_where_they_are_all(left: int, mechanism: str) -> None:
    """However slow: the strategy means them; not where that would leave more."""
    chosen = choose([way("compensate"), way("snapshot"), way("partial", left=left, seconds=99.0)], facts())
    assert chosen.mechanism == mechanism
    said = "the actions that are named are all that has to be undone"
    assert (said in chosen.reasons) == (mechanism == "partial")
    proved = choose([way("phased"), way("partial")], facts(error=CRITICAL, verifies=True))
    assert proved.mechanism == "phased"


def test_guided_is_never_weighed() -> None:
    """It is asked for; the others have an order."""
    assert set(get_args(Mechanism)) - set(NAMES) == {"guided"}


# -- estimates --------------------------------------------------------------------------------------------------------

TOOK = {
    "a": {"started": "1000", "finished": "4000"},
    "b": {"started": "1000", "finished": "2000"},
    "c": {"started": "9000", "finished": "8000"},
}


def undo(name: str, **more: Any) -> Step:
    return Step(id=name, device="d", call=Call(uses="x"), purpose="undo", undoes=name.partition("/")[0], **more)


def test_an_undo_takes_as_long_as_what_it_takes_back() -> None:
    """What is not known is little, and a clock that was set back makes nothing negative."""
    assert [seconds_of(undo(name), TOOK) for name in ("a", "a/fallback", "c", "d")] == [3.0, 3.0, 0.0, 0.1]
    assert seconds_of(undo("a"), {"a": {"started": "1000"}}) == 0.1


@pytest.mark.parametrize(
    ("shape", "parallel", "seconds"), [("sequence", 0, 4.0), ("group", 0, 3.0), ("group", 1, 4.0), ("group", 2, 3.0)]
)
def test_a_stage_takes_as_long_as_its_shape_lets_it(shape: str, parallel: int, seconds: float) -> None:
    """One after the other, or side by side as far as `limits.parallel` lets them."""
    steps = [undo("a"), undo("b")]
    stages = sequence(steps, length=25, fuse=True) if shape == "sequence" else [group(steps)]
    made = WayBackPlan(phases=[stages], steps={step.id: step for step in steps})
    assert estimate("compensate", made, TOOK, parallel) == way("compensate", steps=2, seconds=seconds)


def test_what_only_stands_by_costs_nothing() -> None:
    """An undo that runs only where a restore fails, and a row that a restore takes along; probes are no undos."""
    restore, held = undo("snapshot/1"), undo("a", unless="snapshot/1")
    probe = Step(id="verify/1", device="d", call=Call(uses="x"), purpose="verify")
    made = WayBackPlan(
        phases=[[group([restore])], [group([held])], sequence([probe], length=25, fuse=True)],
        steps={step.id: step for step in (restore, held, probe)},
        remaining=[{"action": "b", "unless": ["snapshot/1"]}, {"action": "c"}],
        kept=["d"],
    )
    assert estimate("snapshot", made, TOOK, 0) == way("snapshot", steps=1, left=2, seconds=0.2)
