"""CEL: what is found before the run, and what evaluation gives, refuses and bounds."""

import contextlib
import re
import shlex
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from executor.expressions import (
    Code,
    Fault,
    Reads,
    Scope,
    check,
    evaluate,
    has_code,
    holds,
    parse_template,
    quoted_parameters,
    reads_of,
    reads_of_condition,
    render,
    shape_of,
)  # fmt: skip
from executor.model.errors import ExpressionError
from executor.model.secrets import is_secret, mentions_secret


class Served(BaseModel):
    status: int
    text: str | None = None
    headers: dict[str, str] = {}


SCOPE = Scope(
    inputs={"port": "int", "workdir": "string", "note": "string?", "ratio": "dyn", "names": "list"},
    ranks={"configure": 0, "restart-web": 1, "serves": 2, "2nd": 3, "later": 9},
    before=5,
    results={"serves": shape_of(Served)},
    own=shape_of(Served),
    extras=frozenset({"device", "result"}),
)
VALUES: dict[str, Any] = {
    "inputs": {"port": 80, "workdir": "/a b", "note": None},
    "context": {"items": list(range(100)), "name": "é"},
    "actions": {
        "serves": {"status": "failed", "result": None, "error": None, "device": "edge-1", "attempts": 3},
        "restart-web": {"status": "succeeded", "result": {"list": [1, {"y": "z"}], "big": 5}},
    },
    "device": {"id": "edge-1", "labels": {}, "capabilities": []},
}


def only_fault(source: str, want: Any = "any", scope: Scope = SCOPE) -> Fault:
    (fault,) = check(source, scope, want)
    return fault


def failure(source: str, values: dict[str, Any] = VALUES) -> str:
    with pytest.raises(ExpressionError) as caught:
        evaluate(source, values)
    return str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        "inputs.port == 8080 && inputs.workdir.startsWith('/')",
        "inputs['port'] > 1",
        "inputs.ratio > 1.5 && inputs.ratio < 3",
        "inputs.note == null || inputs.note == 'x'",
        "actions.serves.result.status == 200",
        "actions['restart-web'].status == 'succeeded' && actions['restart-web'].attempts < 3",
        "actions.configure.result.anything[0].at.all == 'x'",
        "has(actions.serves.result.text) && actions.serves.result.text == null",
        "actions.serves.result.headers['Server'] == 'x'",
        "actions.serves.device == 'edge-1' && device.id == execution.id",
        "device.labels.zone == 'a' && device.labels['x'] == 'b' && 'docker' in device.capabilities",
        "context.list.exists(item, item.port == inputs.port)",
        "result.status >= 200",
        "'actions.nope' == \"inputs.nope\"",
        "context.size() > 0 && 'x' in inputs",
    ],
)
def test_what_is_right_passes(source: str) -> None:
    """Names, declared kinds and dynamic values, in the ways that people write them."""
    assert check(source, SCOPE, "bool") == ()


@pytest.mark.parametrize(
    ("source", "column", "said", "remedy"),
    [
        ("inputs.prt == 1", 8, "there is no input 'prt'", "did you mean 'port'?"),
        ("true && inputs.zzz == 1", 16, "there is no input 'zzz'", "there is: names, note, port"),
        ("actions.serve.status == 'x'", 1, "there is no action 'serve'", "did you mean 'serves'?"),
        ("1 == 1 && actions.later.status == 'x'", 11, "the action 'later' has not run by then", "put it earlier"),
        ("actions.serves.stats == 'x'", 16, "actions.serves has no 'stats'", "did you mean 'status'?"),
        ("actions.serves.result.statuss == 1", 23, "actions.serves.result has no 'statuss'", "did you mean 'status'?"),
        ("has(actions.serves.result.txt)", 27, "actions.serves.result has no 'txt'", "did you mean 'text'?"),
        ("actions.restart-web.status == 'x'", 1, "is a subtraction in CEL", "write actions['restart-web']"),
        ("actions.restart-wbe.status == 'x'", 1, "is a subtraction in CEL", "write actions['restart-web']"),
        ("actions.serves-old.status == 'x'", 1, "is a subtraction in CEL", "write actions['serves']"),
        ("actions.2nd.status == 'x'", 1, "begins with a digit", "write actions['2nd']"),
        ("actions[inputs.workdir].status == 'x'", 1, "the name of an action cannot be computed", "actions['an-id']"),
        ("size(actions) == 1", 6, "'actions' is no value by itself", "name one action"),
        ("device.ip == 'x'", 8, "device has no 'ip'", "there is: capabilities, id, labels"),
        ("error.message == 'x'", 1, "'error' is not known here", "known are inputs, context, actions"),
        ("prot == 80", 1, "there is no name 'prot'", ""),
        ("inputz.port == 80", 7, "there is no name 'inputz.port'", ""),
        ("siez([1]) == 1", 5, "there is no function 'siez'", "did you mean 'size'?"),
        ("inputs.port == 'x'", 13, "'==' cannot be applied to int and string", ""),
        ("inputs.port + inputs.workdir == 1", 13, "'+' cannot be applied to int and string", ""),
        ("actions.serves.result.status == '200'", 30, "'==' cannot be applied to int and string", ""),
        ("actions['restart-web'].status == 3", 31, "'==' cannot be applied to string and int", ""),
        ("inputs.workdir.contains(1)", 24, "contains() cannot be applied to string and int", ""),
        ("inputs.note == 1", 13, "'==' cannot be applied to string or null and int", ""),
        ("inputs.port", 0, "it gives int, where true or false is wanted", "compare it"),
        ("inputs.port == ", 16, "it ends where something is still expected", ""),
        ("'open", 1, "is a quote missing?", ""),
        ("1 == 1 )", 8, "')' does not fit here", ""),
        ("", 0, "the expression is empty", ""),
        ("context.a.map(inputs, inputs.x)[0]", 15, "'inputs' is taken", "choose another"),
        ("__int == 1", 1, "there is no name '__int'", ""),
    ],
)
def test_what_is_wrong_is_found_before_the_run(source: str, column: int, said: str, remedy: str) -> None:
    """One message, with the column inside the expression."""
    fault = check(source, SCOPE, "bool")[0]
    assert said in fault.message
    assert remedy in fault.remedy
    assert fault.column == column


def test_columns_survive_what_checking_puts_in_place_of_names() -> None:
    """Also behind several names, in the second line."""
    source = "inputs.port == actions['restart-web'].attempts &&\n  inputs.workdir == inputs.port"
    assert only_fault(source).column == source.index("==", 40) + 1


def test_expressions_are_bounded_in_size() -> None:
    """1 KB, three comprehensions, 32 levels."""
    assert "longer than 1 KB" in only_fault("1 == 1" + " " * 1024).message
    assert "longer than 1 KB" in only_fault("'" + "é" * 600 + "'").message
    four = "context.a.all(a, a.exists(b, b.map(c, c.filter(d, true)) == []))"
    assert "more than 3 comprehensions" in only_fault(four).message
    for deep in ("(" * 400 + "1" + ")" * 400, "[" * 400 + "]" * 400, "+".join(["1"] * 400), "context" + ".a" * 400):
        assert "nested too deeply" in only_fault(deep).message


def test_results_are_declared_by_models() -> None:
    """Nested models, unions, literals and open models are followed as far as they go."""

    class Inner(BaseModel):
        name: str

    class Outer(BaseModel, extra="allow"):
        inner: Inner
        either: int | str
        maybe: Inner | None

    scope = Scope(own=shape_of(Outer), extras=frozenset({"result"}))
    assert only_fault("result.inner.nam", scope=scope).remedy == "did you mean 'name'?"
    assert "'==' cannot be applied" in only_fault("result.inner.name == 1", scope=scope).message
    assert check("result.either == 1 || result.either == 'x' || result.other == 1", scope) == ()
    assert only_fault("result.maybe.nam", scope=scope).message == "result.maybe has no 'nam'"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("plain", ("plain",)),
        ("", ("",)),
        ("${{ a }}", (Code("a", 4),)),
        ("x${{a}}y${{ b }}", ("x", Code("a", 4), "y", Code("b", 12))),
        ("$${{ a }}", ("${{ a }}",)),
        ("$$${{ a }}", ("$${{ a }}",)),
        ("a $${{ b }} ${{ c }}", ("a ${{ b }} ", Code("c", 16))),
        ("${{ '}}' }}", (Code("'}}'", 4),)),
        ("${{ {'a': {'b': 1}} }}", (Code("{'a': {'b': 1}}", 4),)),
        ("${{ {'a': {'b': 1}}}}", (Code("{'a': {'b': 1}}", 4),)),
        ('${{ "it\'s }}" }}', (Code('"it\'s }}"', 4),)),
        ("${{ r'\\' }}", (Code("r'\\'", 4),)),
        ("${ a } {{ b }} $", ("${ a } {{ b }} $",)),
    ],
)
def test_templates_end_at_the_first_braces_outside_strings_and_braces(text: str, parts: tuple[object, ...]) -> None:
    """As STRATEGY says; a doubled dollar writes the mark itself."""
    assert parse_template(text) == parts


@pytest.mark.parametrize(
    ("text", "said"), [("a ${{ b", "never closed"), ("${{ '}}'", "never closed"), ("${{ }}", "holds no expression")]
)
def test_broken_templates_are_refused(text: str, said: str) -> None:
    """With the column where the expression was opened."""
    with pytest.raises(ExpressionError, match=said) as caught:
        parse_template(text)
    assert caught.value.column == text.index("${{") + 1
    assert has_code(text)


@given(st.lists(st.text(alphabet="ab'\"{}$ \n") | st.just("${{"), max_size=6).map("".join))
def test_any_text_can_be_written_as_a_template(text: str) -> None:
    """Doubling the dollar of each mark writes the text itself."""
    assert render(text.replace("${{", "$${{"), {}) == text


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("inputs.port + 1", 81),
        ("inputs.note", None),
        ("context.name + '!'", "é!"),
        ("actions['restart-web'].result.list[1].y", "z"),
        ("{'a': [1, 2.5, true, null], '': 'x'}", {"a": [1, 2.5, True, None], "": "x"}),
        ("context.items.filter(x, x > 97)", [98, 99]),
        ("has(actions.serves.result.status)", False),
        ("has(context.no.such.thing)", False),
        ("has(inputs.port)", True),
        ("actions.serves.result == null", True),
        ("timestamp('2026-11-21T10:00:00Z')", "2026-11-21T10:00:00Z"),
        ("duration('90s')", "90s"),
        ("{1: 2}", {"1": 2}),
        ("9223372036854775807", 2**63 - 1),
        ("false && 1 / 0 == 1", False),
    ],
)
def test_evaluation_gives_json(source: str, value: object) -> None:
    """Types are kept; what JSON has no word for becomes text."""
    found = evaluate(source, VALUES)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("actions.serves.result.status", "actions.serves.result is null (the action did not succeed, or has not run)"),
        ("actions.nope.status", "actions has no 'nope'; it has: restart-web, serves"),
        ("actions['restart-web'].result.nope", "actions.restart-web.result has no 'nope'; it has: big, list"),
        ("inputs.note + 'x'", "inputs.note is null (it was not given)"),
        ("context.zzz", "context has no 'zzz'; it has: items, name"),
        ("error.message", "'error' is not known here"),
        ("context.items[1000]", "index=1000 size=100"),
        ("1 / 0", "divide by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("inputs.port + context.name", "'+' cannot be applied to int and string"),
        ("1.0 / 0.0", "gives inf, which is no JSON"),
        ("double('NaN')", "gives nan, which is no JSON"),
        ("b'abc'", "gives bytes, which is no JSON: convert it with string()"),
        ("18446744073709551615u", "gives an integer beyond 64 bits"),
        ("type(1)", "which is no JSON"),
        ("'x'.matches('[')", "invalid regular expression"),
        ("nope", "there is no name 'nope'"),
        ("1 +", "it ends where something is still expected"),
    ],
)
def test_a_failing_expression_says_what_it_is_and_why(source: str, said: str) -> None:
    """The expression stands in the message; a null is named where it is."""
    message = failure(source)
    assert said in message
    assert f"`{source}`" in message


def test_an_error_is_not_tried_again() -> None:
    """The same expression on the same values fails the same way."""
    with pytest.raises(ExpressionError) as caught:
        evaluate("1 / 0", {})
    assert not caught.value.classification.retryable
    assert caught.value.expression == "1 / 0"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("context.l.exists(x, context.l.exists(y, context.l.exists(z, z < 0)))", "more than 10,000 steps"),
        ("context.s.exists(x, context.s.exists(y, context.s.exists(z, z < 0)))", "more than 10,000 steps"),
        ("context.l.exists(x, x in context.l && false)", "it would take too long"),
        ("context.l.all(x, context.t.contains('ab'))", "it would take too long"),
        ("[context.s].map(x, [x, x, x, x, x, x, x, x]).map(x, [x, x, x, x, x, x, x, x]).exists(x, x == x)", "too long"),
        ("context.l.all(x, x >= 0)", "more than 10,000 steps"),
        ("context.l.map(x, x + 1)", "map and filter go over 2000 elements at most"),
        ("context.m.map(x, context.m.filter(y, y > 0))", "map and filter go over 1000 elements at most"),
        ("context.s.map(x, context.s)", "a value larger than 1 MB"),
        ("[context.t].map(x, " + "+".join(["x"] * 12) + ").map(x, " + "+".join(["x"] * 12) + ")", "build too much"),
        ("context.m.map(x, context.t + 'x')", "build too much"),
        ("context.deep", "deeper than 64 levels"),
        ("context.huge", "an integer beyond 64 bits"),
        ("context.text", "reads more than 256 KB"),
    ],
)
def test_no_expression_runs_endlessly_or_eats_memory(source: str, said: str) -> None:
    """Each is stopped at once, whatever it would multiply."""
    deep: dict[str, Any] = {}
    inner = deep
    for _ in range(100):
        inner["a"] = {}
        inner = inner["a"]
    context = {
        "l": list(range(20_000)),
        "m": list(range(1500)),
        "s": list(range(900)),
        "t": "x" * 200_000,
        "deep": deep,
        "huge": 2**70,
        "text": "x" * 300_000,
    }
    values = {key: value for key, value in context.items() if re.search(rf"context\.{key}\b", source)}
    began = time.process_time()  # of our own: others may keep the machine busy
    assert said in failure(source, {"context": values})
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "source",
    [
        "context.hosts.filter(h, h.up).map(h, h.name).size() == 500",
        "context.hosts.exists(h, h.port == inputs.port)",
        "context.hosts.all(h, h.port >= 0 && h.name != '')",
        "context.hosts.map(h, {'n': h.name, 'p': h.port}).size() == 1000",
        "context.hosts.map(h, h.name + ':' + string(h.port))[5] == 'host-5:5'",
        "context.hosts.exists(h, ['a', 'b', 'host-5'].exists(n, n == h.name))",
        "context.lines.filter(line, line.contains('error')).size() == 0",
    ],
)
def test_the_bounds_are_wide_enough_for_work(source: str) -> None:
    """A thousand hosts, or as many lines as an action keeps."""
    hosts = [{"name": f"host-{number}", "up": number % 2 == 0, "port": number} for number in range(1000)]
    assert evaluate(source, {"context": {"hosts": hosts, "lines": ["x" * 40] * 1500}, "inputs": {"port": 5}}) is True


def test_the_worst_that_is_allowed_stays_small() -> None:
    """Measured in a process of its own: the largest map over the largest context, beside an idle one."""
    code = """
import resource
from executor.expressions import evaluate
def used(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
context = {'l': list(range(2000)), 'm': list(range(1400)), 's': 'x' * 1000}
evaluate('size(context.l)', {'context': context})
before = used()
for source in ('context.l.map(x, x * 2)', 'context.l.filter(x, x > 0)', "context.m.map(x, context.s + 'a')"):
    evaluate(f'size({source})', {'context': context})
print(used() - before)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert int(run.stdout) < 300


def test_only_what_is_read_counts() -> None:
    """A large output beside an exit code does not stand in the way; the whole result would."""
    results = {f"a{n}": {"result": {"exit_code": n, "stdout": "x" * 64_000}} for n in range(5)}
    codes = " + ".join(f"actions.a{n}.result.exit_code" for n in range(5))
    assert evaluate(codes, {"actions": results}) == 10
    everything = " == ".join(f"actions.a{n}.result" for n in range(5))
    assert "reads more than 256 KB" in failure(everything, {"actions": results})
    assert evaluate("has(actions.a1.result.stdout) && actions.a1.result == actions.a1.result", {"actions": results})


def test_conditions_give_true_or_false() -> None:
    """Anything else is an error, not a guess."""
    assert holds("inputs.port == 80", VALUES) is True
    with pytest.raises(ExpressionError, match="gives 80, where true or false is wanted"):
        holds("inputs.port", VALUES)


def test_rendering_keeps_types_and_quotes_for_shells() -> None:
    """A whole expression keeps its type, an embedded one becomes text, one in `run` is one word of the shell."""
    given_ = {
        "run": "ls ${{ inputs.workdir }} ${{ [1, 'a b'] }}",
        "whole": "${{ inputs.port }}",
        "mixed": ["port=${{ inputs.port }}", "${{ null }}/${{ true }}/${{ {'a': 'é'} }}", 5, None],
        "that": "inputs.port == 80",
        "inner": {"run": "${{ inputs.workdir }}"},
    }
    rendered = render(given_, VALUES, shell_quote_keys=quoted_parameters("command"), conditions=("that",))
    assert rendered == {
        "run": "ls '/a b' '[1, \"a b\"]'",
        "whole": 80,
        "mixed": ["port=80", 'null/true/{"a": "é"}', 5, None],
        "that": True,
        "inner": {"run": "/a b"},
    }
    assert quoted_parameters("http.request") == frozenset()


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_no_value_leaves_its_place_in_a_shell_command(value: str) -> None:
    """Whatever it holds, it stays one word."""
    rendered = render({"run": "echo ${{ inputs.v }}"}, {"inputs": {"v": value}}, shell_quote_keys={"run"})
    assert shlex.split(rendered["run"]) == ["echo", value]


def test_what_is_read_is_known_without_running() -> None:
    """So that only what is read has to be fetched."""
    structure = {"a": ["${{ inputs.x }} ${{ actions['b-c'].result.y }}"], "that": "actions.d.status == context.z"}
    assert reads_of(structure) == Reads(inputs=True, actions=frozenset({"b-c"}))
    both = reads_of(structure, conditions=("that",))
    assert both == Reads(inputs=True, context=True, actions=frozenset({"b-c", "d"}))
    assert reads_of("plain") == Reads()
    assert reads_of_condition("'inputs.x' == result.a.inputs") == Reads(names=frozenset({"result"}))
    assert reads_of_condition("true") | both == both


def test_threads_share_compiled_expressions() -> None:
    """The same and different expressions at once give what each gives alone."""
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(100):
                assert evaluate(
                    "inputs.n * 2 + context.list[1]", {"inputs": {"n": number}, "context": {"list": [0, 1]}}
                ) == (number * 2 + 1)
                assert evaluate(f"inputs.n + {step}", {"inputs": {"n": number}}) == number + step
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []


PIECES = st.lists(
    st.sampled_from(
        ["inputs", "actions", ".", "serves", "restart-web", "['x']", "[", "]", "(", ")", "has(", " == ", "1", "'a'",
         "\"",
         "'", ".map(x, ", "{", "}", ",", "-", "+", "&&", "//", "\n", "result", "$", "`", "\\", "é", "\0", "b'", "r'''"]
    ),
    max_size=14,
).map("".join)  # fmt: skip


@settings(max_examples=400)
@given(PIECES | st.text(max_size=40))
def test_no_text_breaks_the_check_or_the_evaluation(source: str) -> None:
    """A strategy is what strangers write: an expression has faults, or a value, or an ExpressionError."""
    for fault in check(source, SCOPE, "bool"):
        assert fault.message
    with contextlib.suppress(ExpressionError):
        evaluate(source, VALUES)


def test_secrets_are_named_as_a_whole() -> None:
    """What only looks like a name of a secret is told from one."""
    assert is_secret("secret://env/PAYMENTS_TOKEN")
    for other in ("secret://env/", "secret://vault/X", "Bearer secret://env/X", "secret://env/X ", "x", 5, None):
        assert not is_secret(other)
    assert mentions_secret("Bearer secret://env/X")
    assert not mentions_secret("secret")


def test_importing_expressions_does_not_load_the_library() -> None:
    """Commands that evaluate nothing start fast."""
    code = "import sys, executor.expressions; print('cel_expr_python' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "False"
