"""What `rex validate`, `schema` and `actions` do."""

import inspect
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from executor.cli.output import note, say, say_json, say_table
from executor.cli.statuses import WRONG
from executor.model.errors import Problem, StrategyInvalid

if TYPE_CHECKING:
    from executor.action import ActionType


def validate(file: Path, *, as_json: bool) -> int:
    """Check a file; says everything that is wrong."""
    from executor.cli.strategies import read_strategy

    problems: list[Problem] = []
    warnings: tuple[Problem, ...] = ()
    try:
        _, _, warnings = read_strategy(file)
    except StrategyInvalid as error:
        if not as_json:
            raise
        problems = error.problems
    if as_json:
        listed = [asdict(problem) for problem in problems]
        say_json({"valid": not problems, "problems": listed, "warnings": [asdict(one) for one in warnings]})
        return WRONG if problems else 0
    for warning in warnings:
        note(f"warning: {warning}")
    say("ok")
    return 0


def schema() -> int:
    """Print the schema."""
    from executor.catalogue import InstalledCatalogue
    from executor.schema import json_schema

    say_json(json_schema(InstalledCatalogue()))
    return 0


# -- actions ----------------------------------------------------------------------------------------------------------


def actions(name: str | None, *, as_json: bool) -> int:
    """Show the installed action types, or one."""
    from executor.catalogue import BrokenActionType, InstalledCatalogue

    catalogue = InstalledCatalogue()
    if name is not None:
        if name not in catalogue.names():
            raise StrategyInvalid([_unknown(name, list(catalogue.names()))])
        try:
            told = _told(catalogue.get(name))
        except BrokenActionType as error:
            raise StrategyInvalid([Problem(str(error), remedy="mend or uninstall that package")]) from None
        if as_json:
            say_json(told)
        else:
            _show(told)
        return 0
    listed: list[dict[str, Any]] = []
    for uses in catalogue.names():
        try:
            listed.append(_told(catalogue.get(uses)))
        except BrokenActionType as error:
            listed.append({"uses": uses, "description": f"cannot be loaded: {error.reason}", "broken": True})
    if as_json:
        say_json(listed)
    else:
        say_table(("uses", "what it does"), [(one["uses"], one["description"].split("\n")[0]) for one in listed])
    return 0


def _unknown(name: str, names: list[str]) -> Problem:
    from executor.expressions import near

    return Problem(f"there is no action type {name!r}", remedy=near(name, names) or "`rex actions` lists them")


def _told(kind: "ActionType") -> dict[str, Any]:
    from executor.schema import AsWritten

    return {
        "uses": kind.uses,
        "description": inspect.getdoc(kind) or "",
        "idempotent": kind.idempotent,
        "permissions": list(kind.permissions),
        "parameters": kind.Parameters.model_json_schema(by_alias=True, schema_generator=AsWritten),
        "results": kind.Results.model_json_schema(by_alias=True) if kind.Results is not None else None,
    }


def _show(told: dict[str, Any]) -> None:
    say(f"{told['uses']}: {told['description']}")
    say(f"idempotent: {'yes' if told['idempotent'] else 'no'}")
    for title, key in (("with", "parameters"), ("result", "results")):
        found = told[key]
        if found is None:
            continue
        say()
        required = found.get("required", [])
        rows = [
            (name, _kind(one), "required" if name in required and key == "parameters" else _default(one), _about(one))
            for name, one in found.get("properties", {}).items()
        ]
        say_table((title, "type", "default" if key == "parameters" else "", ""), rows)


def _kind(one: dict[str, Any]) -> str:
    if "anyOf" in one:
        return " or ".join(_kind(option) for option in one["anyOf"] if option.get("type") != "null")
    if "enum" in one:
        return " or ".join(map(str, one["enum"]))
    if "$ref" in one:
        return "map"
    return {"object": "map", "array": "list"}.get(str(one.get("type", "any")), str(one.get("type", "any")))


def _default(one: dict[str, Any]) -> str:
    import json

    return "" if one.get("default") is None else json.dumps(one["default"])


def _about(one: dict[str, Any]) -> str:
    return str(one.get("description", ""))
