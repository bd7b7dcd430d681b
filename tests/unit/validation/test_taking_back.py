"""What `snapshot` and `rollback` say together with the actions, with what would be right."""

from typing import Any

import pytest
from support.sample_types import SAMPLES
from support.strategies import HEAD

from executor.action import Run, Snapshot, Undo
from executor.catalogue import MemoryCatalogue
from executor.documents import load_text
from executor.model.strategy import Model
from executor.snapshot import SnapshotType
from executor.validation import check


class Saves(SnapshotType):
    """Saves nothing, for tests."""

    uses = "saves"

    class Parameters(Model):
        path: str

    def take(self, run: Run) -> Snapshot:
        raise NotImplementedError

    def restore(self, run: Run, data: Any, undo: Undo) -> Any:
        raise NotImplementedError


TYPES = MemoryCatalogue(*(type(SAMPLES.get(name)) for name in SAMPLES.names()), Saves)
ACTIONS = """actions:
  - {id: a, uses: command, with: {run: x}, compensate: none}
  - {id: b, uses: command, with: {run: "y ${{ actions.a.result.stdout }}"}, compensate: none}
  - {id: c, uses: command, with: {run: z}, compensate: none, needs: [{id: b, require: ended}]}
  - {id: d, uses: http.check, with: {url: "http://x/${{ actions.a.result.exit_code }}"}}
  - {id: e, uses: http.check, with: {url: "http://x/"}, needs: [c]}
"""
PARTIAL = "rollback: {mechanism: partial, actions: [%s]}"
NAME_THEM = "name them in `rollback.actions`"


def said(tail: str) -> list[tuple[str, str, str]]:
    """Path, message and remedy of each error."""
    found = check(load_text(HEAD + ACTIONS + tail + "\n", "s.yaml"), TYPES)
    return [(one.path, one.message, one.remedy) for one in found.problems]


@pytest.mark.parametrize(
    "tail",
    [
        PARTIAL % "a, b, c, e",
        PARTIAL % "e",
        "rollback: {actions: [c, e]}",
        "rollback: {mechanism: adaptive, actions: [e]}",
        "rollback: {mechanism: snapshot}\nsnapshot: [{uses: saves, with: {path: /x}}]",
        "rollback: {mechanism: guided}",
        'snapshot: [{uses: saves, with: {path: "${{ inputs.workdir }}"}}]',
    ],
)
def test_what_goes_together_is_let_pass(tail: str) -> None:
    """Each mechanism with what it needs; what only looks at `a` may stay when `a` is taken back."""
    assert said(tail) == []


def test_an_unknown_action_is_named() -> None:
    """Where it is written, with what may have been meant."""
    (problem,) = said(PARTIAL % "e, configure")
    assert problem[:2] == ("rollback.actions[1]", "there is no action 'configure'")


@pytest.mark.parametrize(
    ("named", "kept", "needed"),
    [("c", "e", "c"), ("b, e", "c", "b"), ("a, c, e", "b", "a"), ("a", "b", "a")],
)
def test_what_is_kept_needs_nothing_that_is_taken_back(named: str, kept: str, needed: str) -> None:
    """By `needs`, in either form, or as it was made of the other's result."""
    message = f"{kept!r} is kept, and needs {needed!r}, which is taken back"
    remedy = f"name {kept!r} too, or leave {needed!r} out"
    assert said(PARTIAL % named) == [("rollback.actions", message, remedy)]


def test_each_of_several_needs_is_said() -> None:
    """One problem for each pair."""
    messages = [message for _, message, _ in said(PARTIAL % "a, c")]
    assert messages == [
        "'b' is kept, and needs 'a', which is taken back",
        "'e' is kept, and needs 'c', which is taken back",
    ]


@pytest.mark.parametrize("tail", ["rollback: {mechanism: partial}", "rollback: {mechanism: partial, actions: []}"])
def test_partial_names_its_actions(tail: str) -> None:
    """None is not all of them."""
    assert said(tail) == [("rollback.mechanism", "`partial` takes back named actions", NAME_THEM)]


@pytest.mark.parametrize("mechanism", ["compensate", "snapshot", "phased", "guided", "none"])
def test_actions_go_only_with_partial(mechanism: str) -> None:
    """Or with adaptive, which may choose it."""
    tail = f"rollback: {{mechanism: {mechanism}, actions: [e]}}\nsnapshot: [{{uses: saves, with: {{path: /x}}}}]"
    message = f"`actions` does not go with `mechanism: {mechanism}`"
    assert said(tail) == [("rollback.actions", message, "write `mechanism: partial`, or leave `actions` out")]


@pytest.mark.parametrize("entries", ["", "\nsnapshot: []"])
def test_snapshot_needs_something_that_is_saved(entries: str) -> None:
    """There is nothing to restore otherwise."""
    message = "there is no snapshot to take the execution back by"
    remedy = "list under `snapshot` what is to be saved before the first action"
    assert said("rollback: {mechanism: snapshot}" + entries) == [("rollback.mechanism", message, remedy)]


def test_an_entry_of_snapshot_is_of_a_type_that_saves() -> None:
    """Said for each entry that is not."""
    tail = "snapshot: [{uses: saves, with: {path: /x}}, {uses: command, with: {run: x}}, {uses: nothing}]"
    assert said(tail) == [
        ("snapshot[1].uses", "command takes no snapshot", "use a type that saves, such as snapshot.files"),
        ("snapshot[2].uses", "unknown action type 'nothing'", "`rex actions` lists them"),
    ]


def test_parameters_of_a_snapshot_are_checked() -> None:
    """As those of an action."""
    (problem,) = said("snapshot: [{uses: saves, with: {file: /x}}]")[:1]
    assert problem[0].startswith("snapshot[0].with")


@pytest.mark.parametrize("expression", ["actions.a.result.stdout", "actions.a.status"])
def test_a_snapshot_reads_no_action(expression: str) -> None:
    """It is taken before any has run."""
    (problem,) = said('snapshot: [{uses: saves, with: {path: "${{ ' + expression + ' }}"}}]')
    assert problem[0] == "snapshot[0].with.path"
    assert problem[1] == f"in `{expression}`, column 1: the action 'a' has not run by then"


def test_phased_without_a_probe_is_warned_of() -> None:
    """It would stop nowhere."""
    found = check(load_text(HEAD + ACTIONS + "rollback: {mechanism: phased}\n", "s.yaml"), TYPES)
    assert found.problems == ()
    warned = [(one.path, one.message, one.remedy) for one in found.warnings]
    message = "`phased` stops where a probe does not hold, and there is none"
    assert warned == [("rollback.mechanism", message, "write `rollback.verify`, or another mechanism")]


def test_what_a_snapshot_may_hold_is_not_warned_of() -> None:
    """Whoever lists a snapshot may mean to take a command back with it; by compensation alone it stays."""
    bare = HEAD + "actions:\n  - {id: a, uses: command, with: {run: x}}\n"
    saved = "snapshot: [{uses: saves, with: {path: /x}}]\n"

    def warned(tail: str) -> list[str]:
        return [one.path for one in check(load_text(bare + tail, "s.yaml"), TYPES).warnings]

    assert warned("") == ["actions[0].uses"]
    assert warned(saved) == []
    assert warned(saved + "rollback: {mechanism: compensate}\n") == ["actions[0].uses"]
