"""The whole check of a strategy: what is found, where it is shown, and what would be right."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sample_types import SAMPLES, Assert, Check, Command

from executor.action import ActionType, Json, Run, WayBack
from executor.catalogue import MemoryCatalogue
from executor.documents import load_data, load_text
from executor.model.errors import NotAvailable, Problem, StrategyInvalid
from executor.model.strategy import Strategy
from executor.validation import Checked, check, check_context, check_inputs, convert_input, validate
from executor.validation.unbuilt import NOT_YET

HEAD = """name: restart-web
inputs:
  port: {type: integer, default: 8080}
  workdir: {type: string, required: true}
"""
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


def checked(text: str) -> Checked:
    return check(load_text(text, "s.yaml"), SAMPLES)


def problems(text: str) -> list[Problem]:
    found = checked(text)
    assert found.strategy is None
    return list(found.problems)


def only(text: str) -> Problem:
    (problem,) = problems(text)
    return problem


def actions(*written: str, head: str = HEAD) -> str:
    """A strategy with these actions, one a line; the first stands on line 6."""
    return head + "actions:\n" + "".join(f"  - {{{one}}}\n" for one in written)


def command(name: str, more: str = "") -> str:
    return f"id: {name}, uses: command, with: {{run: x}}, compensate: none{', ' if more else ''}{more}"


def test_a_right_strategy_comes_out_as_its_model() -> None:
    """Without a problem and without a warning."""
    found = checked(GOOD)
    assert found.problems == ()
    assert found.warnings == ()
    assert isinstance(found.strategy, Strategy)
    assert [action.id for action in found.strategy.all_actions()] == ["configure", "serves"]
    assert validate(load_text(GOOD, "s.yaml"), SAMPLES) == found.strategy


SINGLE = [
    # What is written for the first action; what stands at the place shown; path below it, message, remedy.
    ("uses: command, with: {run: x}, compensate: none", "{uses: com", ".id", "`id` is missing", "add it"),
    ("id: a, with: {run: x}", "{id: a", ".uses", "`uses` is missing", "add it"),
    (
        "id: A b, uses: command, with: {run: x}, compensate: none",
        "id:",
        ".id",
        "'A b' is not allowed here",
        "lower-case",
    ),
    (
        "id: a, uses: comand, with: {run: x}",
        "uses:",
        ".uses",
        "unknown action type 'comand'",
        "did you mean 'command'?",
    ),
    ("id: a, uses: zzz", "uses:", ".uses", "unknown action type 'zzz'", "`rex actions` lists them"),
    (command("a", "wen: 'true'"), "wen:", ".wen", "unknown key 'wen'", "did you mean 'when'?"),
    (command("a", "timeout: 30"), "timeout:", ".timeout", "a duration needs a unit", ""),
    (command("a", "timeout: 30 s"), "timeout:", ".timeout", "'30 s' is no duration", ""),
    (command("a", "timeout: [30s]"), "timeout:", ".timeout", "must be a duration such as 30s, not a list", ""),
    (
        command("a", "retry: {max_attempts: 0}"),
        "max_attempts:",
        ".retry.max_attempts",
        "must be at least 1, not the number 0",
        "",
    ),
    (command("a", "retry: {dely: 3s}"), "dely:", ".retry.dely", "unknown key 'dely'", "did you mean 'delay'?"),
    (command("a", "retry: never"), "retry:", ".retry", "must be `none`, or a map", ""),
    (
        command("a", "retry: {on: [timeot]}"),
        "timeot",
        ".retry.on[0]",
        "must be one of transient",
        "did you mean 'timeout'?",
    ),
    (
        command("a", "on_failure: rolback"),
        "on_failure:",
        ".on_failure",
        "must be one of rollback",
        "did you mean 'rollback'?",
    ),
    (command("a", "needs: b"), "needs:", ".needs", "must be a list, not 'b'", ""),
    (command("a", "needs: [b]"), "b", ".needs[0]", "there is no action 'b'", ""),
    (command("a", "needs: [a]"), "a", ".needs[0]", "'a' needs itself", "remove it"),
    (command("a", "device: a b"), "device:", ".device", "'a b' is not allowed here", "letters, digits"),
    (command("a", "idempotent: maybe"), "idempotent:", ".idempotent", "must be true or false, not 'maybe'", ""),
    (command("a", "when: ${{ true }}"), None, None, "braces break", "put it in quotes"),
    (command("a", 'when: "${{ true }}"'), "when:", ".when", "this is CEL itself", "write it without ${{ }}"),
    (command("a", "when: inputs.prt == 1"), "when:", ".when", "there is no input 'prt'", "did you mean 'port'?"),
    (command("a", "when: actions.a.status == 'x'"), "when:", ".when", "the action 'a' has not run", "put it earlier"),
    (
        command("a", "success: result.exit == 0"),
        "success:",
        ".success",
        "result has no 'exit'",
        "did you mean 'exit_code'?",
    ),
    (command("a", "success: result.exit_code"), "success:", ".success", "gives int, where true or false is wanted", ""),
    (command("a", "when: error == null"), "when:", ".when", "'error' is not known here", ""),
    (command("a", "fallback: {uses: comand}"), "uses:", ".fallback.uses", "unknown action type 'comand'", "'command'"),
    (
        "id: a, uses: command, with: {run: x}, compensate: {uses: http.chek}",
        "uses:",
        ".compensate.uses",
        "unknown action type 'http.chek'",
        "did you mean 'http.check'?",
    ),
    (
        "id: a, uses: command, with: {run: x}, compensate: {with: {run: x}}",
        "compensate:",
        ".compensate.uses",
        "`uses` is missing",
        "add it",
    ),
    (
        "id: a, uses: command, with: {run: x}, compensate: automatic",
        "compensate:",
        ".compensate",
        "must be `auto`, `none`, or a map",
        "",
    ),
    ("id: a, uses: command, compensate: none", "{id: a", ".with", "needs one of run and argv", ""),
    (
        "id: a, uses: command, with: x, compensate: none",
        "with:",
        ".with",
        "must be a map of keys to values, not 'x'",
        "",
    ),
    ("id: a, uses: command, with: {run: 5}, compensate: none", "run:", ".with.run", "must be text", "put it in quotes"),
    ("id: a, uses: http.check, with: {status: 200}", "with:", ".with.url", "`url` is missing", "add it"),
    (
        "id: a, uses: http.check, with: {url: x, status: up}",
        "status:",
        ".with.status",
        "must be a whole number, not 'up'",
        "",
    ),
    ("id: a, uses: http.check, with: {url: x, sttus: 1}", "sttus:", ".with.sttus", "unknown key 'sttus'", "'status'"),
    (
        "id: a, uses: http.check, with: {url: x, contains: {pattern: y, ptern: z}}",
        "ptern:",
        ".with.contains.ptern",
        "unknown key 'ptern'",
        "did you mean 'pattern'?",
    ),
    ("id: a, uses: http.check, with: {url: x, within: 10}", "within:", ".with.within", "a duration needs a unit", ""),
    ('id: a, uses: http.check, with: {url: "${{ inputs.x"}', "url:", ".with.url", "never closed", "column 1"),
    (
        'id: a, uses: http.check, with: {url: x, "${{ a }}": y}',
        '"${{ a ',
        ".with",
        "cannot stand in a key",
        "in values",
    ),
    (
        "id: a, uses: assert, with: {that: inputs.port == 'x'}",
        "that:",
        ".with.that",
        "'==' cannot be applied to int",
        "",
    ),
    (
        'id: a, uses: command, with: {run: "x secret://env/X"}, compensate: none',
        "run:",
        ".with.run",
        "a secret cannot stand in `run`",
        "use one of body",
    ),
    (
        "id: a, uses: command, with: {argv: [secret://env/X]}, compensate: none",
        "secret:",
        ".with.argv[0]",
        "a secret cannot stand in `argv`",
        "use one of body",
    ),
    (
        "id: a, uses: http.check, with: {url: secret://env/X}",
        "url:",
        ".with.url",
        "a secret cannot stand in `url`",
        "use one of body",
    ),
    (
        'id: a, uses: command, with: {run: x, env: {A: "B secret://env/X"}}, compensate: none',
        "A:",
        ".with.env.A",
        "a secret is a whole value",
        "write secret://env/NAME and nothing else",
    ),
]


@pytest.mark.parametrize(("written", "at", "path", "said", "remedy"), SINGLE)
def test_one_mistake_in_an_action_is_one_problem(
    written: str, at: str | None, path: str | None, said: str, remedy: str
) -> None:
    """At its line and column, with its path, in words without jargon, and with what would be right."""
    if at is None:
        with pytest.raises(StrategyInvalid) as caught:
            checked(actions(written))
        (problem,) = caught.value.problems
    else:
        problem = next(one for one in problems(actions(written)) if "unknown key '${{" not in one.message)
        assert problem.path.startswith("actions[0]" + (path or ""))
        assert (problem.file, problem.line) == ("s.yaml", 6)
        assert f"  - {{{written}}}"[problem.column - 1 :].startswith(at)
    assert said in problem.message
    assert remedy in problem.remedy
    for jargon in ("pydantic", "Input should", "extra_forbidden", "union", "NoneType", "ValidationError"):
        assert jargon not in str(problem)


@pytest.mark.parametrize(
    ("text", "line", "path", "said", "remedy"),
    [
        ("[]", 1, "", "a strategy is a map", "it begins with `name:`"),
        ("just text", 1, "", "a strategy is a map", "it begins with `name:`"),
        ("name: x", 1, "", "there are no actions", "add `actions`"),
        ("name: x\nactions: []", 2, "actions", "there are no actions", "add one"),
        ("name: x\nactions: {a: b}", 2, "actions", "must be a list, not a map", ""),
        ("name: x\nactions:\n  - foo", 3, "actions[0]", "must be a map of keys to values, not 'foo'", ""),
        ("name: x\nmodle: y\nactions:\n  - {" + command("a") + "}", 2, "modle", "unknown key 'modle'", "'model'"),
        ("name: x\nmodel: serial\nactions:\n  - {" + command("a") + "}", 2, "model", "must be one of sequential", ""),
        ("name: x\nversion: 1\nactions:\n  - {" + command("a") + "}", 2, "version", "must be text", "put it in quotes"),
        ("name: 5\nactions:\n  - {" + command("a") + "}", 1, "name", "must be text, not the number 5", "in quotes"),
        (actions(command("a")) + "limits: {parallel: 0}", 7, "limits.parallel", "must be at least 1", ""),
        (actions(command("a")) + "limits: {timeout: 2}", 7, "limits.timeout", "a duration needs a unit", ""),
        (actions(command("a")) + "success_criteria: [actions.b.status == 'x']", 7, "success_criteria[0]",
         "there is no action 'b'", ""),
        (actions(command("a")) + "success_criteria: [actions.a.status]", 7, "success_criteria[0]",
         "it gives string, where true or false is wanted", "compare it"),
        (actions(command("a")) + "rollback: {verify: [{uses: http.check}]}", 7, "rollback.verify[0].with.url",
         "`url` is missing", "add it"),
        (actions(command("a")) + "rollback: {verfy: []}", 7, "rollback.verfy", "unknown key", "'verify'"),
    ],
)  # fmt: skip
def test_one_mistake_around_the_actions_is_one_problem(text: str, line: int, path: str, said: str, remedy: str) -> None:
    """The whole document is held to the format."""
    problem = only(text)
    assert said in problem.message
    assert remedy in problem.remedy
    assert (problem.line, problem.path) == (line, path)


def test_everything_wrong_is_said_at_once_in_the_order_of_the_file() -> None:
    """One mistake hides no other, of whatever kind they are."""
    found = problems(
        actions(
            "id: a, uses: comand",
            command("b", "timeout: 3, when: inputs.prt == 1, needs: [zz]"),
            command("b"),
            "uses: http.check, with: {url: 5}",
        )
        + "success_criteria: [actions.x.status == 'y']\nmodle: z\n"
    )
    assert [(one.line, one.path) for one in found] == [
        (6, "actions[0].uses"),
        (7, "actions[1].timeout"),
        (7, "actions[1].when"),
        (7, "actions[1].needs[0]"),
        (8, "actions[2].id"),
        (9, "actions[3].id"),
        (9, "actions[3].with.url"),
        (10, "success_criteria[0]"),
        (11, "modle"),
    ]


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


def test_defaults_are_checked_where_they_are_written() -> None:
    """A mistake in `defaults` is said once, not for each action; an action's own field hides it."""
    text = """name: x
defaults: {uses: http.check, with: {url: 5}, when: inputs.x == 1}
actions: [{id: a}, {id: b}, {id: c, with: {url: x}, when: 'true'}]
"""
    assert [one.path for one in problems(text)] == ["defaults.with.url", "defaults.when"]


@pytest.mark.parametrize(
    ("inputs", "path", "said"),
    [
        ("{a: {type: integer, default: x}}", "inputs.a.default", 'the default "x" is not a whole number'),
        ("{a: {type: boolean, default: 1}}", "inputs.a.default", "the default 1 is not true or false"),
        ("{a: {type: integer, default: true}}", "inputs.a.default", "the default true is not a whole number"),
        ("{a: {type: string, default: a, enum: [b]}}", "inputs.a.default", 'the default "a" is not in `enum`'),
        ("{a: {type: string, enum: [b, 5]}}", "inputs.a.enum[1]", "5 is not text"),
        ("{a: {type: strng}}", "inputs.a.type", "must be one of string, integer"),
        ("{a: {}}", "inputs.a.type", "`type` is missing"),
        ("{a: {type: string, defalt: x}}", "inputs.a.defalt", "unknown key 'defalt'"),
        ("{a: text}", "inputs.a", "must be a map of keys to values, not 'text'"),
    ],
)
def test_inputs_are_declared_consistently(inputs: str, path: str, said: str) -> None:
    """Type, default and enum agree."""
    problem = only(actions(command("a"), head=f"name: x\ninputs: {inputs}\n"))
    assert said in problem.message
    assert problem.path == path


def test_a_required_input_with_a_default_is_odd() -> None:
    """A warning: it can run."""
    found = checked(actions(command("a"), head="name: x\ninputs: {a: {type: string, required: true, default: b}}\n"))
    assert found.strategy is not None
    assert "its default is never used" in found.warnings[0].message


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("snapshot: [{uses: snapshot.files}]", "snapshot"),
        ("concurrency: {key: a}", "concurrency"),
        ("permissions: [a]", "permissions"),
        ("priority: 7", "priority"),
        ("preempt: true", "preempt"),
        ("rollback: {mechanism: snapshot}", "rollback.mechanism"),
        ("rollback: {mechanism: partial}", "rollback.mechanism"),
        ("rollback: {mechanism: phased}", "rollback.mechanism"),
        ("rollback: {mechanism: guided}", "rollback.mechanism"),
        ("rollback: {actions: [a]}", "rollback.actions"),
        ("rollback: {max_depth: 3}", "rollback.max_depth"),
        ("defaults: {timeout: adaptive}", "defaults.timeout"),
        ("defaults: {retry: adaptive}", "defaults.retry"),
        ("defaults: {devices: all}", "defaults.devices"),
        ("defaults: {devices: {labels: {zone: a}}}", "defaults.devices"),
        ("defaults: {max_unavailable: 25%}", "defaults.max_unavailable"),
        ("defaults: {agent: coder}", "defaults.agent"),
        ("defaults: {capabilities: [docker]}", "defaults.capabilities"),
        ("defaults: {approval: {reason: because}}", "defaults.approval"),
        ("defaults: {breaker: web}", "defaults.breaker"),
        ("defaults: {cache: 5m}", "defaults.cache"),
        ("defaults: {fallback: {uses: user.input}}", "defaults.fallback.uses"),
        ("defaults: {fallback: {uses: strategy}}", "defaults.fallback.uses"),
        ("defaults: {fallback: {uses: snapshot.files}}", "defaults.fallback.uses"),
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


STRATEGY = Strategy.model_validate(
    {
        "name": "x",
        "inputs": {
            "port": {"type": "integer", "default": 80},
            "dir": {"type": "string", "required": True},
            "mode": {"type": "string", "enum": ["fast", "slow"]},
            "ratio": {"type": "number"},
            "tags": {"type": "list"},
            "more": {"type": "map"},
            "dry": {"type": "boolean", "default": False},
        },
        "actions": [{"id": "a", "uses": "command"}],
    }
)


def test_inputs_are_completed_with_their_defaults() -> None:
    """Every declared input has a value; null where nobody gave one."""
    assert check_inputs(STRATEGY, {"dir": "/x", "ratio": 1}) == {
        "port": 80, "dir": "/x", "mode": None, "ratio": 1, "tags": None, "more": None, "dry": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given_", "path", "said", "remedy"),
    [
        ({}, "inputs.dir", "the input 'dir' is required", "--input dir=..."),
        ({"dir": None}, "inputs.dir", "the input 'dir' is required", ""),
        ({"dir": "x", "prt": 1}, "inputs.prt", "there is no input 'prt'", "did you mean 'port'?"),
        ({"dir": "x", "zzz": 1}, "inputs.zzz", "there is no input 'zzz'", "the strategy declares port, dir"),
        ({"dir": 5}, "inputs.dir", "the input 'dir' must be text, not 5", ""),
        ({"dir": "x", "port": "80"}, "inputs.port", 'must be a whole number, not "80"', ""),
        ({"dir": "x", "port": True}, "inputs.port", "must be a whole number, not true", ""),
        ({"dir": "x", "port": 1.5}, "inputs.port", "must be a whole number, not 1.5", ""),
        ({"dir": "x", "mode": "fats"}, "inputs.mode", "the input 'mode' is \"fats\"", 'allowed: "fast", "slow"'),
        ({"dir": "x", "tags": {}}, "inputs.tags", "must be a list, not {}", ""),
    ],
)
def test_inputs_that_do_not_fit_are_refused(given_: dict[str, Any], path: str, said: str, remedy: str) -> None:
    """With the name, what it must be, and what it is."""
    with pytest.raises(StrategyInvalid) as caught:
        check_inputs(STRATEGY, given_)
    (problem,) = caught.value.problems
    assert problem.path == path
    assert said in problem.message
    assert remedy in problem.remedy


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("5", "string", "5"), ("5", "integer", 5), ("1.5", "number", 1.5), ("2", "number", 2),
        ("true", "boolean", True), ('["a"]', "list", ["a"]), ('{"a": 1}', "map", {"a": 1}),
    ],
)  # fmt: skip
def test_text_from_the_command_line_becomes_the_declared_type(text: str, kind: str, value: object) -> None:
    """Text stays text where text is wanted."""
    found = convert_input(text, kind)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("x", "integer"), ("1.5", "integer"), ("true", "integer"), ("yes", "boolean"), ("1", "boolean"), ("NaN", "number"),
     ("a,b", "list"), ("[", "list"), ("[1]", "map"), ("[" * 100_000, "list")],
)  # fmt: skip
def test_text_that_is_not_of_the_type_is_refused(text: str, kind: str) -> None:
    """Never guessed."""
    with pytest.raises(ValueError, match="is not"):
        convert_input(text, kind)


def test_the_context_is_a_bounded_map() -> None:
    """Of JSON, 256 KB."""
    assert check_context(None) == {}
    assert check_context({"a": [1]}) == {"a": [1]}
    for bad, said in [([], "context must be a map"), ({"a": "x" * 300_000}, "at most 256 KB"), ({"a": {1}}, "no JSON")]:
        with pytest.raises(StrategyInvalid, match=said):
            check_context(bad)


KEYS = [
    "name", "model", "actions", "phases", "id", "uses", "with", "needs", "retry", "compensate", "inputs", "type",
    "default", "when", "rollback", "verify", "fallback", "defaults", "timeout", "success_criteria", "devices",
]  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["a", "b", "command", "http.check", "phased", "auto", "none", "30s", "${{ inputs.a }}", "${{",
                       "actions.a.status == 'x'", "secret://env/X", "adaptive", "ended"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(VALUES)
def test_the_check_never_crashes(data: Any) -> None:
    """Whatever a stranger sends is a strategy or has problems."""
    document = {"name": "x", "model": "sequential", **data} if isinstance(data, dict) else data
    found = check(load_data(document), MemoryCatalogue(Command, Check, Assert))
    assert (found.strategy is None) == bool(found.problems)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5), max_size=4), VALUES)
def test_the_check_of_actions_never_crashes(listed: list[Any], defaults: Any) -> None:
    """The same a level deeper."""
    found = check(load_data({"name": "x", "actions": listed, "defaults": defaults}), SAMPLES)
    assert (found.strategy is None) == bool(found.problems)
