"""What the models find wrong, in plain words and once for each mistake."""

import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from executor.documents.places import Path
from executor.expressions import near
from executor.model import strategy as models

Found = tuple[Path, str, str]
"""Path, message, remedy."""
KnownKeys = Callable[[Path], Iterable[str]]

_MODEL_OF_KEY: Mapping[str, type[BaseModel]] = {
    "defaults": models.Defaults, "actions": models.Action, "phases": models.Phase, "snapshot": models.SnapshotEntry,
    "rollback": models.Rollback, "limits": models.Limits, "concurrency": models.Concurrency, "needs": models.Need,
    "inputs": models.Input, "approval": models.Approval, "retry": models.Retry, "fallback": models.Fallback,
    "compensate": models.Compensation, "verify": models.Probe, "devices": models.Labels,
    "on_timeout": models.Escalation,
}  # fmt: skip
_EXPECTED = {
    "needs": "a list of action ids, or of {id, require: ended | succeeded}",
    "timeout": "a duration such as 30s",
    "retry": "`none`, or a map such as {max_attempts: 3, delay: 100ms}",
    "compensate": "`auto`, `none`, or a map with `uses` and `with`",
    "devices": "a list of device ids, `all`, or {labels: {...}}",
    "max_unavailable": "a count of at least 1, or a percentage such as 25%",
    "on_timeout": "`deny`, `approve`, or {escalate: role}",
    "verify": "a CEL condition, or a list of them",
    "when": "a CEL condition",
}
_PATTERNS = (
    ("^[a-z0-9][a-z0-9-]{0,62}$", "lower-case letters, digits and dashes, at most 63, beginning with no dash"),
    ("^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", "letters, digits, dots, dashes and underscores, at most 63"),
    (
        "^[a-z0-9][a-z0-9-]{0,62}(@[A-Za-z0-9][A-Za-z0-9._-]{0,62})?$",
        "an action's id, or that of its instance on one device, such as restart@edge-1",
    ),
    (r"^\d+ in \d+(ms|s|m|h)$", "a count and a duration, such as 3 in 10m"),
    (r"^\d{1,3}%$", "a percentage such as 25%"),
)
_BOUNDS = {
    "greater_than_equal": ("ge", "must be at least"), "greater_than": ("gt", "must be more than"),
    "less_than_equal": ("le", "must be at most"), "less_than": ("lt", "must be less than"),
}  # fmt: skip
_KINDS = {
    "string": "text", "str": "text", "int": "a whole number", "float": "a number", "bool": "true or false",
    "list": "a list", "dict": "a map of keys to values", "mapping": "a map of keys to values",
    "model": "a map of keys to values", "tuple": "a list", "set": "a list",
}  # fmt: skip

UNKNOWN_KEY = "unknown key"


def strategy_keys(path: Path) -> Iterable[str]:
    """The keys that may stand in the map at `path` of a strategy."""
    names = [step for step in path if isinstance(step, str)]
    if len(path) == 2 and path[0] == "inputs":
        model: type[BaseModel] | None = models.Input
    else:
        model = _MODEL_OF_KEY.get(names[-1]) if names else models.Strategy
    return model_keys(model) if model else ()


def model_keys(model: type[BaseModel]) -> list[str]:
    """The keys that a model takes, as they are written."""
    return [info.alias or name for name, info in model.model_fields.items()]


def keys_below(model: type[BaseModel], path: Path) -> Iterable[str]:
    """The keys that may stand in the map at `path` of what `model` reads; none where it does not say."""
    models_here = [model]
    for step in path:
        if isinstance(step, str):
            infos = [
                info for one in models_here for name, info in one.model_fields.items() if step in (name, info.alias)
            ]
            models_here = [inner for info in infos for inner in _models_in(info.annotation)]
    return [key for one in models_here for key in model_keys(one)]


def _models_in(annotation: Any) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models_in(inner)


def found_by_models(error: ValidationError, data: Any, keys: KnownKeys) -> list[Found]:
    """One entry for each mistake, whatever number of alternatives of a union were tried on it."""
    plain: list[Found] = []
    unions: dict[Path, list[tuple[Path, str, ErrorDetails]]] = {}
    for details in error.errors(include_url=False):
        path, union, branch = _place(details, data)
        if union is None:
            plain.append(_worded(details, path, keys))
        else:
            unions.setdefault(union, []).append((path, branch, details))
    for union, tried in unions.items():
        plain.extend(_of_union(union, tried, _value_at(data, union), keys))
    return plain


def _of_union(union: Path, tried: list[tuple[Path, str, ErrorDetails]], value: Any, keys: KnownKeys) -> list[Found]:
    if isinstance(value, dict):
        fitting = [one for one in tried if one[1][:1].isupper()]
        if fitting:
            return [_worded(details, path, keys) for path, _, details in fitting]
    if isinstance(value, list):
        fitting = [one for one in tried if len(one[0]) > len(union)]
        if fitting:
            return [_worded(fitting[0][2], fitting[0][0], keys)]
    ours = [one for one in tried if one[2]["type"] == "value_error"]
    if ours and not isinstance(value, (dict, list)):
        return [_worded(ours[0][2], union, keys)]
    patterns = [one for one in tried if one[2]["type"] == "string_pattern_mismatch"]
    if patterns and isinstance(value, str):
        return [_worded(patterns[0][2], union, keys)]
    names = [step for step in union if isinstance(step, str)]
    expected = _EXPECTED.get(names[-1] if names else "")
    if expected is None:
        return [_worded(tried[0][2], union, keys)]
    return [(union, f"must be {expected}, not {_shown(value)}", "")]


def _place(details: ErrorDetails, data: Any) -> tuple[Path, Path | None, str]:
    """The path in the document; and, where alternatives were tried, the place of the union and which one it was."""
    path: Path = ()
    union: Path | None = None
    branch = ""
    value = data
    location = details["loc"]
    for index, step in enumerate(location):
        last = index == len(location) - 1
        if isinstance(step, int):
            inside = isinstance(value, list) and step < len(value)
        else:
            inside = isinstance(value, dict) and step in value
        if inside:
            value, path = value[step], (*path, step)
        elif last and details["type"] in ("missing", "missing_argument"):
            path = (*path, step)
        elif union is None:
            union, branch = path, str(step)
    return path, union, branch


def _value_at(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data


def _worded(details: ErrorDetails, path: Path, keys: KnownKeys) -> Found:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "missing":
        return path, f"`{path[-1]}` is missing", "add it"
    if kind == "extra_forbidden":
        known = list(keys(path[:-1]))
        remedy = near(str(path[-1]), known) or (f"known are {', '.join(known)}" if known else "")
        return path, f"{UNKNOWN_KEY} {path[-1]!r}", remedy
    if kind in ("literal_error", "enum"):
        options = [option.strip("' ") for option in str(context["expected"]).replace(" or ", ", ").split(",")]
        remedy = near(value, options) if isinstance(value, str) else ""
        return path, f"must be one of {', '.join(options)}, not {_shown(value)}", remedy
    if kind == "string_pattern_mismatch":
        allowed = dict(_PATTERNS).get(context["pattern"], f"text of the form {context['pattern'].strip('^$')}")
        return path, f"{_shown(value)} is not allowed here", f"use {allowed}"
    return path, *_of_value(kind, value, details)


def _of_value(kind: str, value: Any, details: ErrorDetails) -> tuple[str, str]:
    context = details.get("ctx", {})
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"{words} {context[key]}, not {_shown(value)}", ""
    if kind == "too_short":
        return f"must hold at least {context['min_length']}", ""
    if kind in ("value_error", "assertion_error"):
        return str(context["error"]), ""
    expected = _KINDS.get(kind.split("_", maxsplit=1)[0])
    if expected and kind.endswith(("_type", "_parsing", "_from_float")):
        quoted = expected == "text" and isinstance(value, (bool, int, float))
        return f"must be {expected}, not {_shown(value)}", "put it in quotes" if quoted else ""
    return details["msg"][:1].lower() + details["msg"][1:], ""


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (dict, BaseModel)):
        return "a map"
    if isinstance(value, list):
        return "a list"
    return f"{value!r:.60}" if isinstance(value, str) else f"the number {value}"
