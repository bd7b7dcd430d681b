"""One mistake, one problem: its place, its words, its remedy; and all mistakes at once."""

import pytest
from support.strategies import actions, checked, command, only, problems

from executor.model.errors import StrategyInvalid

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
