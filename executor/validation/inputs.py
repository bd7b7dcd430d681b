"""The values that a run is given: declared in the strategy, checked before it starts."""

import json
from collections.abc import Mapping
from typing import Any

from executor.documents import load_data
from executor.expressions import INPUT_KINDS, Kind, near
from executor.model.errors import Problem, StrategyInvalid
from executor.model.strategy import Input, Strategy
from executor.validation.written import Report, Written

MAX_GIVEN = 256 * 1024
"""Bytes of JSON that inputs and context may have, each."""
_NAMES = {
    "string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false",
    "list": "a list", "map": "a map",
}  # fmt: skip


def fits(value: Any, kind: str) -> bool:
    """Whether a JSON value is of an input's type."""
    if isinstance(value, bool):
        return kind == "boolean"
    expected: Mapping[str, tuple[type, ...]] = {
        "string": (str,), "integer": (int,), "number": (int, float), "list": (list,), "map": (dict,),
    }  # fmt: skip
    return isinstance(value, expected.get(kind, ()))


def check_declared(written: Written, report: Report) -> None:
    """Defaults and enumerations agree with the types that they belong to."""
    declared = written.data.get("inputs")
    for name, one in (declared if isinstance(declared, dict) else {}).items():
        kind = one.get("type") if isinstance(one, dict) else None
        if not isinstance(kind, str) or kind not in _NAMES:
            continue
        default, options = one.get("default"), one.get("enum")
        for index, option in enumerate(options if isinstance(options, list) else []):
            if not fits(option, kind):
                report.error(("inputs", name, "enum", index), f"{_shown(option)} is not {_NAMES[kind]}")
        if default is None:
            continue
        path = ("inputs", name, "default")
        if not fits(default, kind):
            report.error(path, f"the default {_shown(default)} is not {_NAMES[kind]}", f"the type says {kind}")
        elif isinstance(options, list) and default not in options:
            report.error(path, f"the default {_shown(default)} is not in `enum`", f"it has {_listed(options)}")
        if one.get("required") is True:
            report.warning(path, f"the input {name!r} is required, so its default is never used", "drop one of them")


def input_kinds(written: Written) -> dict[str, Kind]:
    """The CEL type of each declared input; null is possible where one may be left out."""
    kinds: dict[str, Kind] = {}
    nullable: Mapping[Kind, Kind] = {"string": "string?", "int": "int?", "bool": "bool?"}
    declared = written.data.get("inputs")
    for name, one in (declared if isinstance(declared, dict) else {}).items():
        given = one if isinstance(one, dict) else {}
        kind = INPUT_KINDS.get(str(given.get("type")), "dyn")
        certain = given.get("required") is True or given.get("default") is not None
        kinds[name] = kind if certain else nullable.get(kind, "dyn")
    return kinds


def check_inputs(strategy: Strategy, given: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a run: what is given, and the defaults; null where neither says anything.

    Raises:
        StrategyInvalid: one is unknown, missing, of the wrong type, or not among its `enum`; or all are too large.
    """
    data = _bounded(given, "inputs")
    problems = [_unknown(name, strategy) for name in data if name not in strategy.inputs]
    for name, declared in strategy.inputs.items():
        if name in data and data[name] is not None:
            problems.extend(_misfits(name, data[name], declared))
        elif declared.required:
            remedy = f"give it: --input {name}=..."
            problems.append(Problem(f"the input {name!r} is required", f"inputs.{name}", remedy=remedy))
    if problems:
        raise StrategyInvalid(problems)
    return {name: data[name] if data.get(name) is not None else one.default for name, one in strategy.inputs.items()}


def check_context(given: Any) -> dict[str, Any]:
    """The context of a run: any JSON object of at most 256 KB.

    Raises:
        StrategyInvalid: it is something else.
    """
    return _bounded({} if given is None else given, "context")


def convert_input(text: str, kind: str) -> Any:
    """What a text from the command line means for an input of that type.

    Raises:
        ValueError: it does not mean anything of that type.
    """
    if kind == "string":
        return text
    try:
        value = json.loads(text, parse_constant=float)
    except (ValueError, RecursionError):
        value = text
    if not fits(value, kind) or value != value:  # noqa: PLR0124 - NaN alone differs from itself
        example = {"list": ', such as ["a", "b"]', "map": ', such as {"a": 1}'}.get(kind, "")
        raise ValueError(f"{text!r:.60} is not {_NAMES.get(kind, kind)}{example}")
    return value


def _bounded(given: Any, name: str) -> dict[str, Any]:
    data = load_data(given, f"<{name}>").data
    if not isinstance(data, dict):
        raise StrategyInvalid([Problem(f"{name} must be a map, not {_shown(data)}", name)])
    size = len(json.dumps(data, ensure_ascii=False).encode())
    if size > MAX_GIVEN:
        limit = f"at most {MAX_GIVEN // 1024} KB"
        raise StrategyInvalid([Problem(f"{name} has {size // 1024} KB, {limit}", name, remedy="pass a path instead")])
    return data


def _unknown(name: str, strategy: Strategy) -> Problem:
    known = f"the strategy declares {', '.join(strategy.inputs) or 'none'}"
    return Problem(f"there is no input {name!r}", f"inputs.{name}", remedy=near(name, strategy.inputs) or known)


def _misfits(name: str, value: Any, declared: Input) -> list[Problem]:
    path = f"inputs.{name}"
    if not fits(value, declared.type):
        return [Problem(f"the input {name!r} must be {_NAMES[declared.type]}, not {_shown(value)}", path)]
    if declared.enum is not None and value not in declared.enum:
        return [Problem(f"the input {name!r} is {_shown(value)}", path, remedy=f"allowed: {_listed(declared.enum)}")]
    return []


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _listed(options: list[Any]) -> str:
    return ", ".join(_shown(option) for option in options[:20])
