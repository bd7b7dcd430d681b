"""What an expression may cost at most, found from its text and the sizes of what it reads.

The library stops after 10,000 steps of all comprehensions together, and that is all it bounds. At each step ``map`` and
``filter`` copy the list that they build, ``+`` copies text and lists, a comparison goes through both its sides; and
nothing else of our process runs meanwhile. So what would multiply is refused before it starts.
"""

from collections.abc import Mapping
from typing import Any

from executor.expressions.tokens import Access, Outline
from executor.expressions.values import Measure, short
from executor.model.errors import ExpressionError

MAX_BUILT = 2000
"""Elements that one ``map`` or ``filter`` may go over; half of it where there are several."""
_MAX_STEPS = 10_000
_MAX_COPIED = 128 * 1024 * 1024
"""Bytes."""
_MAX_VISITED = 64 * 1024 * 1024
"""Elements and letters; about two seconds."""


def refuse_costly(source: str, found: Outline, size: Measure, values: Mapping[str, Any]) -> None:
    """Refuse an expression that could take long, or much memory, over these values.

    Raises:
        ExpressionError: with the bound that it would break.
    """
    longest = max(size.longest, found.commas + 1)
    allowed = MAX_BUILT if found.builders < 2 else MAX_BUILT // 2
    if found.builders and longest > allowed:
        _refuse(source, f"map and filter go over {allowed} elements at most, here are {longest}")
    steps = max(1, min(_MAX_STEPS, found.comprehensions * longest**found.nesting))
    if found.additions and _growth(found.additions, found) * steps * max(size.widest, longest * 16) > _MAX_COPIED:
        _refuse(source, "it would build too much from values this large")
    if found.comprehensions and steps * _visited(source, found, values) > _MAX_VISITED:
        _refuse(source, "it would take too long over values this large")


def _growth(joints: int, found: Outline) -> float:
    """How many times a value can come to stand in another: most when the joints are spread evenly."""
    levels = found.comprehensions + 1
    return float((joints / levels + 1) ** levels)


def _visited(source: str, found: Outline, values: Mapping[str, Any]) -> float:
    """Elements and letters that one step may go through."""
    weights = sum(_weight(source, access, values) for access in found.accesses)
    separators = found.commas - found.comprehensions  # each comprehension has one behind its variable
    return weights * (_growth(separators, found) if found.literals else 1)


def _weight(source: str, access: Access, values: Any) -> int:
    for step in (access.root, *access.steps):
        if not isinstance(values, Mapping) or step not in values:
            return 0
        values = values[step]
    if not access.gone_over:
        return _measured(source, values)
    return max((_measured(source, one) for one in values), default=0) if isinstance(values, (list, Mapping)) else 0


def _measured(source: str, value: Any) -> int:
    size = Measure(source)
    size.add(value, 0)
    return size.weight


def _refuse(source: str, what: str) -> None:
    raise ExpressionError(f"`{short(source)}`: {what}; let an action do it", source)
