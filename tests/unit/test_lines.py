"""Events as lines for a person: those of executions on several devices."""

from typing import Any

from executor.cli.lines import line_of


def said(name: str, **data: Any) -> str:
    line = line_of({"event": name, "timestamp": 0, "data": data})
    assert line is not None
    return line.partition(" ")[2]


def test_an_execution_on_several_devices_says_where_and_how_it_fared() -> None:
    """At its beginning and at its end; a fleet that is too large for a line is cut, one that was left out is none."""
    assert said("distributed:execution:started", devices=["a", "b"]) == "execution on 2 devices: a, b"
    results = {"b": {"failed": 1, "succeeded": 2}, "a": {"timed_out": 1}}
    assert said("distributed:execution:completed", results=results) == (
        "execution on its devices: a 1 timed out; b 1 failed, 2 succeeded"
    )
    many = said("distributed:execution:started", devices=[f"edge-{number}" for number in range(500)])
    assert many.startswith("execution on 500 devices: edge-0, ")
    assert len(many) <= 500
    assert said("distributed:execution:completed")
