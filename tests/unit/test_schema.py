"""The JSON Schema agrees with the check of a strategy."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from support.sample_types import SAMPLES

from executor.catalogue import InstalledCatalogue
from executor.documents import load_data
from executor.schema import json_schema
from executor.validation import check


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema(SAMPLES)


def with_action(**fields: Any) -> dict[str, Any]:
    return {"name": "s", "inputs": {"n": {"type": "integer", "default": 1}}, "actions": [{"id": "a", **fields}]}


def command(**fields: Any) -> dict[str, Any]:
    return with_action(uses="command", **{"with": {"run": "x"}, **fields})


GOOD = [
    command(timeout="30s", retry="none", compensate="auto", needs=[]),
    command(retry={"max_attempts": 2, "on": ["timeout"]}, when="inputs.n == 1", on_failure="continue"),
    command(compensate={"uses": "command", "with": {"argv": ["x"]}, "after": "started"}),
    command(fallback={"uses": "http.check", "with": {"url": "http://x"}}),
    with_action(uses="http.check", **{"with": {"url": "u", "status": "${{ inputs.n }}"}}),
    with_action(uses="command", **{"with": {"run": "x", "expect_exit": ["${{ inputs.n }}"], "parse": "json"}}),
    with_action(uses="command", **{"with": {"run": "x", "env": "${{ {'A': 'b'} }}"}}),
    {"name": "s", "defaults": {"uses": "command", "with": {"run": "x"}}, "actions": [{"id": "a"}]},
    {"name": "s", "model": "phased", "phases": [{"name": "p", "actions": command()["actions"], "verify": "true"}]},
    {**command(), "rollback": {"mechanism": "compensate", "verify": [{"uses": "http.check", "with": {"url": "u"}}]}},
    {**command(), "limits": {"timeout": "2h", "parallel": 5, "max_failures": 0}, "success_criteria": ["true"]},
]
BAD = [
    {"name": "s"},
    {**command(), "phases": []},
    {**command(), "nmae": "x"},
    {**command(), "name": "No Slug"},
    {**command(), "limits": {"parallel": 0}},
    with_action(uses="comand"),
    with_action(),
    command(timeout=30),
    command(timeout="30"),
    command(on_failure="rolback"),
    command(compensate={"uses": "nope"}),
    command(compensate={"uses": "http.check"}),
    command(fallback={"uses": "http.check", "with": {"url": "u", "status": "x"}}),
    with_action(uses="http.check", **{"with": {"url": "u", "status": "x"}}),
    with_action(uses="http.check", **{"with": {"status": 200}}),
    with_action(uses="command", **{"with": {"run": "x", "cwdd": "/"}}),
    with_action(uses="command", **{"with": {"run": "x", "parse": "xml"}}),
    with_action(uses="command", **{"with": {"run": 5}}),
]


@pytest.mark.parametrize("document", GOOD)
def test_what_the_check_accepts_an_editor_accepts(schema: dict[str, Any], document: dict[str, Any]) -> None:
    """No red underline under what runs."""
    assert check(load_data(document), SAMPLES).problems == ()
    assert [error.message for error in Draft202012Validator(schema).iter_errors(document)] == []


@pytest.mark.parametrize("document", BAD)
def test_what_an_editor_can_see_it_refuses(schema: dict[str, Any], document: dict[str, Any]) -> None:
    """And so does the check."""
    assert check(load_data(document), SAMPLES).problems
    assert list(Draft202012Validator(schema).iter_errors(document))


@pytest.mark.parametrize("catalogue", [SAMPLES, InstalledCatalogue()])
def test_it_is_a_valid_schema_with_descriptions(catalogue: Any) -> None:
    """Of the draft that it names; every type has its parameters in it."""
    schema = json_schema(catalogue)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"].startswith("urn:")
    assert set(schema["$defs"]["Action"]["properties"]["uses"]["enum"]) == set(catalogue.names())
    assert schema["properties"]["success_criteria"]["description"]
    for uses in catalogue.names():
        assert schema["$defs"][f"with.{uses}"]["description"]
