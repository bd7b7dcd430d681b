"""What the format has and this version does not: refused by name, never ignored."""

from collections.abc import Mapping
from typing import Any

from executor.documents.places import Path
from executor.validation.written import Report, Written

_ANY = object()

# Where, key, the values that are not available (_ANY: all), the values that change nothing and are let pass.
NOT_YET: tuple[tuple[str, str, Any, tuple[Any, ...]], ...] = (
    ("strategy", "concurrency", _ANY, (None,)),
    ("strategy", "permissions", _ANY, (None, [])),
    ("strategy", "priority", _ANY, (None, 5)),
    ("strategy", "preempt", _ANY, (None, False)),
    ("rollback", "max_depth", _ANY, (None, 10)),
    ("action", "approval", _ANY, (None,)),
    ("action", "timeout", ("adaptive",), ()),
    ("action", "retry", ("adaptive",), ()),
    ("action", "breaker", _ANY, (None,)),
    ("action", "cache", _ANY, (None,)),
)
_TYPES = ("strategy", "user.")


def not_available_type(uses: str) -> bool:
    """Whether an action type belongs to the format and comes later."""
    return any(uses == name or (name.endswith(".") and uses.startswith(name)) for name in _TYPES)


def check_unbuilt(written: Written, report: Report) -> None:
    """Refuse what is written and not built yet."""
    _refuse("strategy", written.data, (), report)
    rollback = written.data.get("rollback")
    if isinstance(rollback, dict):
        _refuse("rollback", rollback, ("rollback",), report)
    _refuse("action", written.defaults, ("defaults",), report)
    for action in written.actions:
        _refuse("action", action.own, action.path, report)


def _refuse(where: str, data: Mapping[str, Any], path: Path, report: Report) -> None:
    for place, key, refused, harmless in NOT_YET:
        if place != where or key not in data:
            continue
        value = data[key]
        if refused is _ANY:
            if not any(value is one or (type(value) is type(one) and value == one) for one in harmless):
                report.unbuilt((*path, key), f"`{key}`")
        elif isinstance(value, str) and value in refused:
            report.unbuilt((*path, key), f"`{key}: {value}`")
