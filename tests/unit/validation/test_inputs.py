"""Inputs as declared, as given, as text from the command line; the context."""

from typing import Any

import pytest
from support.strategies import actions, checked, command, only

from executor.model.errors import StrategyInvalid
from executor.model.strategy import Strategy
from executor.validation import check_context, check_inputs, convert_input


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
