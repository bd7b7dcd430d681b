"""Ids, needs, phases: in which order actions run, and what they may therefore read."""

import pytest
from support.sample_types import SAMPLES
from support.strategies import HEAD, actions, checked, command, only, problems

from executor.documents import load_data
from executor.validation import check


def test_ids_are_unique() -> None:
    """Also across phases; the first one is shown."""
    problem = only(actions(command("a"), command("b"), command("a")))
    assert problem.message == "the id 'a' is used twice, first on line 6"
    assert (problem.line, problem.path) == (8, "actions[2].id")


def test_a_circle_of_needs_is_shown_as_a_circle() -> None:
    """Once, without what only follows from it."""
    head = HEAD + "model: parallel\n"
    problem = only(
        actions(
            command("a", "needs: [c]"),
            command("b", "needs: [a], when: actions.a.status == 'x'"),
            command("c", "needs: [b]"),
            command("d", "needs: [c]"),
            command("e"),
            head=head,
        )
    )
    assert problem.message == "needs go round in a circle: a -> c -> b -> a"
    assert problem.path == "actions[0].needs"


def test_a_circle_of_thousands_is_found_without_recursion() -> None:
    """And shown shortened."""
    count = 5000
    data = {
        "name": "x",
        "model": "parallel",
        "defaults": {"uses": "command", "with": {"run": "x"}, "compensate": "none"},
        "actions": [{"id": f"a{n}", "needs": [f"a{(n + 1) % count}"]} for n in range(count)],
    }
    (problem,) = check(load_data(data), SAMPLES).problems
    assert "a0 -> a1 -> a2" in problem.message
    assert "..." in problem.message
    assert len(problem.message) < 300


def test_the_order_of_a_sequence_agrees_with_its_needs() -> None:
    """A need of something later is refused, of something earlier is fine."""
    problem = only(actions(command("a", "needs: [b]"), command("b")))
    assert problem.message == "'a' needs 'b', which stands later"
    assert checked(actions(command("a"), command("b", "needs: [a]"))).problems == ()


def test_needs_make_levels_and_levels_decide_what_is_visible() -> None:
    """In a parallel strategy an action sees the levels before its own, needed or not."""
    head = HEAD + "model: parallel\n"
    a, b = command("a"), command("b", "needs: [a], when: actions.a.status == 'x'")
    assert checked(actions(a, b, head=head)).problems == ()
    beside = command("c", "when: actions.a.status == 'x'")
    assert "has not run by then" in only(actions(a, b, beside, head=head)).message
    behind = command("d", "needs: [a], when: actions.b.status == 'x'")
    assert "has not run by then" in only(actions(a, b, behind, head=head)).message


PHASES = """name: x
model: phased
defaults: {uses: command, with: {run: x}, compensate: none}
phases:
  - name: one
    actions: [{id: a}, {id: b%s}]
    verify: %s
  - name: two
    actions: [{id: c%s}]
"""


@pytest.mark.parametrize(
    ("b", "verify", "c", "said"),
    [
        ("", "actions.a.status == 'x'", ", needs: [a, {id: b, require: ended}], when: actions.a.attempts > 0", None),
        ("", "['true', actions.b.status == 'x']", "", None),
        (", needs: [a]", "'true'", "", "'b' needs 'a', which is in no earlier phase"),
        (", needs: [c]", "'true'", "", "'b' needs 'c', which is in no earlier phase"),
        (", when: actions.a.status == 'x'", "'true'", "", "the action 'a' has not run by then"),
        ("", "actions.c.status == 'x'", "", "the action 'c' has not run by then"),
        ("", "device.id == 'x'", "", "'device' is not known here"),
        ("", "5", "", "must be a CEL condition, or a list of them, not the number 5"),
    ],
)
def test_phases_see_and_need_earlier_phases(b: str, verify: str, c: str, said: str | None) -> None:
    """Actions of one phase run side by side."""
    found = checked(PHASES % (b, verify, c)).problems
    assert [one.message.split(": ")[-1] for one in found] == ([] if said is None else [said])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PHASES.replace("phased", "parallel") % ("", "'true'", ""), "`phases` does not go with `model: parallel`"),
        (PHASES.replace("model: phased\n", "") % ("", "'true'", ""), "`phases` does not go with `model: sequential`"),
        (PHASES % ("", "'true'", "") + "actions: [{id: z}]\n", "`actions` and `phases` exclude each other"),
        ("name: x\nmodel: phased\nphases: [{name: a, actions: []}]", "must hold at least 1"),
    ],
)
def test_phases_go_with_their_model(text: str, said: str) -> None:
    """And with nothing else."""
    assert said in [one.message for one in problems(text)]
