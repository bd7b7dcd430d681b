"""A right strategy, what is not built yet, what cannot be taken back, what is left for the run, and limits."""

import time
from typing import Any

import pytest
from support.sample_types import SAMPLES
from support.strategies import HEAD, actions, checked, command, only, problems

from executor.action import ActionType, Json, Run, WayBack
from executor.catalogue import MemoryCatalogue
from executor.documents import load_data, load_text
from executor.model.errors import NotAvailable, StrategyInvalid
from executor.model.strategy import Strategy
from executor.validation import check, validate
from executor.validation.unbuilt import NOT_YET

GOOD = (
    HEAD
    + """
defaults: {device: edge-1, timeout: 30s, retry: {max_attempts: 3}}
actions:
  - id: configure
    uses: command
    with: {run: "./configure ${{ inputs.workdir }}"}
    compensate:
      uses: command
      with: {run: "./undo ${{ result.exit_code }} ${{ error.message }} ${{ snapshot.x }} ${{ actions.serves.result }}"}
  - id: serves
    uses: http.check
    with: {url: "http://127.0.0.1:${{ inputs.port }}/", status: 200}
    when: actions.configure.result.exit_code == 0
    success: result.status == 200 && device.id == 'edge-1'
success_criteria:
  - actions.serves.result.status == 200
rollback:
  verify: [{uses: http.check, with: {url: "http://x/${{ actions.serves.status }}"}}]
"""
)


def test_a_right_strategy_comes_out_as_its_model() -> None:
    """Without a problem and without a warning."""
    found = checked(GOOD)
    assert found.problems == ()
    assert found.warnings == ()
    assert isinstance(found.strategy, Strategy)
    assert [action.id for action in found.strategy.all_actions()] == ["configure", "serves"]
    assert validate(load_text(GOOD, "s.yaml"), SAMPLES) == found.strategy


def test_defaults_are_checked_where_they_are_written() -> None:
    """A mistake in `defaults` is said once, not for each action; an action's own field hides it."""
    text = """name: x
defaults: {uses: http.check, with: {url: 5}, when: inputs.x == 1}
actions: [{id: a}, {id: b}, {id: c, with: {url: x}, when: 'true'}]
"""
    assert [one.path for one in problems(text)] == ["defaults.with.url", "defaults.when"]


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("concurrency: {key: a}", "concurrency"),
        ("permissions: [a]", "permissions"),
        ("priority: 7", "priority"),
        ("preempt: true", "preempt"),
        ("rollback: {max_depth: 3}", "rollback.max_depth"),
        ("defaults: {timeout: adaptive}", "defaults.timeout"),
        ("defaults: {retry: adaptive}", "defaults.retry"),
        ("defaults: {approval: {reason: because}}", "defaults.approval"),
        ("defaults: {breaker: web}", "defaults.breaker"),
        ("defaults: {cache: 5m}", "defaults.cache"),
        ("defaults: {fallback: {uses: user.input}}", "defaults.fallback.uses"),
        ("defaults: {fallback: {uses: strategy}}", "defaults.fallback.uses"),
    ],
)  # fmt: skip
def test_what_is_not_built_yet_is_refused_by_name(written: str, path: str) -> None:
    """Never ignored; and told apart from what is wrong."""
    with pytest.raises(NotAvailable) as caught:
        validate(load_text(actions(command("a")) + written, "s.yaml"), SAMPLES)
    (problem,) = caught.value.problems
    assert "is not available yet" in problem.message
    assert (problem.path, problem.line) == (path, 7)


def test_what_is_not_built_is_no_excuse_for_what_is_wrong() -> None:
    """With a mistake beside it the strategy is invalid."""
    text = actions(command("a", "wen: x")) + "priority: 7\n"
    with pytest.raises(StrategyInvalid) as caught:
        validate(load_text(text, "s.yaml"), SAMPLES)
    assert not isinstance(caught.value, NotAvailable)
    assert len(caught.value.problems) == 2


def test_defaults_of_what_is_not_built_are_let_pass() -> None:
    """Writing down what holds anyway changes nothing."""
    text = """snapshot: []
permissions: []
priority: 5
preempt: false
rollback: {mechanism: adaptive, max_depth: 10}
"""
    assert checked(actions(command("a", "capabilities: []")) + text).problems == ()
    assert {place for place, *_ in NOT_YET} == {"strategy", "action", "rollback"}


@pytest.mark.parametrize(
    ("written", "warned"),
    [
        ("id: a, uses: command, with: {run: x}", True),
        ("id: a, uses: command, with: {run: x}, compensate: auto", True),
        ("id: a, uses: command, with: {run: x}, compensate: none", False),
        ("id: a, uses: command, with: {run: x}, compensate: {uses: command, with: {run: y}}", False),
        ("id: a, uses: http.check, with: {url: x}", False),
        ("id: a, uses: http.check, with: {url: x}, fallback: {uses: command, with: {run: x}}", True),
    ],
)
def test_what_cannot_be_taken_back_is_warned_of(written: str, warned: bool) -> None:
    """A warning, with the place; not where nothing is rolled back at all."""
    found = checked(actions(written))
    assert found.strategy is not None
    assert ["cannot take it back" in one.message for one in found.warnings] == ([True] if warned else [])
    assert all(one.severity == "warning" and one.line == 6 for one in found.warnings)
    assert checked(actions(written) + "rollback: {mechanism: none}\n").warnings == ()


def test_compensations_see_everything_and_forward_actions_do_not() -> None:
    """`result`, `error`, `snapshot` and later actions belong to the way back."""
    way_back = 'compensate: {uses: command, with: {run: "${{ actions.b.result }} ${{ result.stdout }}"}}'
    later = "id: b, uses: http.check, with: {url: x}"
    assert checked(actions(f"id: a, uses: command, with: {{run: x}}, {way_back}", later)).problems == ()
    wrong = way_back.replace("result.stdout", "result.stdot")
    problem = only(actions(f"id: a, uses: command, with: {{run: x}}, {wrong}", later))
    assert problem.remedy == "did you mean 'stdout'?"
    assert problem.path == "actions[0].compensate.with.run"
    forward = 'id: a, uses: command, with: {run: "${{ result.stdout }}"}, compensate: none'
    assert "'result' is not known here" in only(actions(forward)).message


def test_parameters_that_hold_an_expression_are_left_for_the_run() -> None:
    """Their type is not known yet; those beside them are still checked."""
    text = actions(
        'id: a, uses: http.check, with: {url: x, status: "${{ inputs.port }}", within: "${{ inputs.workdir }}"}'
    )
    assert checked(text).problems == ()
    beside = actions('id: a, uses: http.check, with: {url: 5, status: "${{ inputs.port }}"}')
    assert only(beside).path == "actions[0].with.url"


class Faulty(ActionType):
    uses = "faulty"

    def problems(self, parameters: Json) -> list[tuple[str, str]]:
        raise RuntimeError("my own fault")

    def way_back(self, parameters: Json) -> WayBack:
        raise RuntimeError("my own fault")

    def execute(self, run: Run) -> Any:
        return {}


def test_a_faulty_type_is_a_problem_and_no_crash() -> None:
    """Foreign code may fail; the check goes on."""
    found = check(load_data({"name": "x", "actions": [{"id": "a", "uses": "faulty"}]}), MemoryCatalogue(Faulty))
    assert any("RuntimeError: my own fault" in one.message for one in found.problems)


def test_too_many_actions_are_refused_at_once() -> None:
    """10,000 are possible."""
    data = {
        "name": "x",
        "defaults": {"uses": "command", "with": {"run": "x"}, "compensate": "none"},
        "actions": [{"id": f"a{number}"} for number in range(10_001)],
    }
    (problem,) = check(load_data(data), SAMPLES).problems
    assert problem.message == "the strategy has 10,001 actions; at most 10,000 are possible"
    data["actions"] = data["actions"][:-1]  # type: ignore[index]
    began = time.monotonic()
    assert check(load_data(data), SAMPLES).problems == ()
    assert time.monotonic() - began < 10


def test_thousands_of_mistakes_are_not_all_told() -> None:
    """Looking for what was meant takes time; 200 are enough to mend first."""
    listed = [{"id": f"a{number}", "uses": "command", "needs": [f"b{number}"]} for number in range(10_000)]
    began = time.monotonic()
    found = check(load_data({"name": "x", "model": "parallel", "actions": listed}), SAMPLES)
    assert time.monotonic() - began < 20
    assert len(found.problems) == 201
    assert found.problems[-1].message == "there are more problems than are shown"


def test_thousands_of_warnings_are_no_mistakes() -> None:
    """They are all told, and the strategy can run."""
    listed = [{"id": f"a{number}", "uses": "command", "with": {"run": "x"}} for number in range(1000)]
    found = check(load_data({"name": "x", "actions": listed}), SAMPLES)
    assert found.strategy is not None
    assert len(found.warnings) == 1000
