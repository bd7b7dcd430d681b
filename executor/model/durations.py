"""Durations as a person writes them: text with a unit."""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours"}
_PATTERN = r"\d+(\.\d+)?(ms|s|m|h)"
_LONGEST = timedelta(days=3650)


def parse_duration(value: Any) -> timedelta:
    """Read ``250ms``, ``30s``, ``5m`` or ``2h``; a `timedelta` passes through.

    Raises:
        ValueError: a number without a unit, an unknown unit, or a length no clock can keep.
    """
    if isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("a duration is text with a unit, such as 30s")  # noqa: TRY004 - pydantic reads ValueError
    if isinstance(value, (int, float)) or re.fullmatch(r"\d+(\.\d+)?", value):
        raise ValueError(f"a duration needs a unit: write {value}s, {value}ms, {value}m or {value}h")
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", value)
    if found is None:
        raise ValueError(f"{value!r} is no duration: write a number and one of ms, s, m, h, such as 30s")
    try:
        length = timedelta(**{_UNITS[found[2]]: float(found[1])})
    except OverflowError:
        length = timedelta.max
    if length > _LONGEST:
        raise ValueError(f"{value} is longer than ten years")
    return length


def format_duration(value: timedelta) -> str:
    """The shortest text that `parse_duration` reads back as the same length."""
    milliseconds = round(value.total_seconds() * 1000)
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": f"^{_PATTERN}$", "examples": ["30s", "5m"]}),
]
