"""Values on their way into an expression and out of it, measured."""

import datetime
import json
import math
from collections.abc import Mapping
from functools import cache
from typing import Any, NoReturn

from executor.expressions.compiler import in_our_words
from executor.model.durations import format_duration
from executor.model.errors import ExpressionError

MAX_CONTEXT = 256 * 1024
"""Letters and elements that one expression may read."""
MAX_DEPTH = 64
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


class Measure:
    """Measures values on their way in."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.weight = 0
        self.longest = 0
        """Elements of the longest list or map."""
        self.widest = 0
        """Letters of the longest text."""

    def add(self, value: Any, depth: int) -> None:
        self.weight += 2
        if depth > MAX_DEPTH:
            self.refuse(f"what it reads is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, str):
            self.weight += len(value)
            self.widest = max(self.widest, len(value))
        elif isinstance(value, Mapping):
            self.longest = max(self.longest, len(value))
            for key, item in value.items():
                self.weight += len(key)
                self.add(item, depth + 1)
        elif isinstance(value, (list, tuple)):
            self.longest = max(self.longest, len(value))
            for item in value:
                self.add(item, depth + 1)
        elif isinstance(value, int) and not _INT_MIN <= value <= _INT_MAX:
            self.refuse("it reads an integer beyond 64 bits")
        if self.weight > MAX_CONTEXT:
            self.refuse(f"it reads more than {MAX_CONTEXT // 1024} KB")

    def refuse(self, what: str) -> NoReturn:
        raise ExpressionError(f"`{short(self.source)}`: {what}", self.source)


class Plain:
    """Turns a value of the library into JSON, and counts: lists in lists can be larger than what went in."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.weight = 0

    def of(self, value: Any, depth: int) -> Any:
        kind = _kind(value.type().name())
        if kind == "INT":  # the many numbers of a long list, without any detour
            return value.plain_value()
        if kind in ("LIST", "MAP"):
            if depth >= MAX_DEPTH:
                self.refuse(f"a value nested deeper than {MAX_DEPTH} levels")
            inner = value.value()
            self.weigh(4 * len(inner))  # what an element takes as JSON, more or less
            if kind == "LIST":
                return [self.of(item, depth + 1) for item in inner]
            return {self.key(key): self.of(item, depth + 1) for key, item in inner.items()}
        return self.scalar(value.plain_value(), kind)

    def scalar(self, value: Any, kind: str) -> Any:
        if isinstance(value, str):
            self.weigh(len(value))
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, (int, float)):
            return self.number(value)
        if isinstance(value, datetime.datetime):
            return value.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
        if kind == "ERROR":
            self.refuse(f"an error: {in_our_words(str(value))}")
        if not isinstance(value, datetime.timedelta):
            self.refuse(f"{kind.lower()}, which is no JSON: convert it with string()")
        return format_duration(value)

    def number(self, value: float) -> float:
        if isinstance(value, float) and not math.isfinite(value):
            self.refuse(f"{value}, which is no JSON")
        if isinstance(value, int) and not _INT_MIN <= value <= _INT_MAX:
            self.refuse("an integer beyond 64 bits")
        return value

    def key(self, key: Any) -> str:
        if isinstance(key, str):
            self.weigh(len(key))
            return key
        return json.dumps(key)

    def weigh(self, amount: int) -> None:
        self.weight += amount
        if self.weight > 4 * MAX_CONTEXT:
            self.refuse("a value larger than 1 MB")

    def refuse(self, what: str) -> NoReturn:
        raise ExpressionError(f"`{short(self.source)}` gives {what}", self.source)


@cache
def _kind(name: str) -> str:
    """``list<dyn>`` is a LIST."""
    return name.upper().split("<")[0]


def short(source: str) -> str:
    """An expression as it stands in a message."""
    return source if len(source) <= 120 else source[:117] + "..."
