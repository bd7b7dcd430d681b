"""What expressions read, so that nothing else has to be fetched for them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from executor.expressions.templates import Code, parse_template
from executor.expressions.tokens import outline


@dataclass(frozen=True)
class Reads:
    """The names that expressions use. ``a | b`` is what both use together."""

    inputs: bool = False
    context: bool = False
    actions: frozenset[str] = field(default_factory=frozenset)
    names: frozenset[str] = field(default_factory=frozenset)
    """Of the others: device, execution, error, result, snapshot."""

    def __or__(self, other: "Reads") -> "Reads":
        return Reads(
            self.inputs or other.inputs,
            self.context or other.context,
            self.actions | other.actions,
            self.names | other.names,
        )


def reads_of_condition(source: str) -> Reads:
    """What a piece of CEL reads.

    Raises:
        ExpressionError: it goes beyond the bounds of an expression.
    """
    accesses = outline(source).accesses
    roots = {access.root for access in accesses}
    actions = frozenset(access.steps[0] for access in accesses if access.root == "actions" and access.steps)
    return Reads("inputs" in roots, "context" in roots, actions, frozenset(roots - {"inputs", "context", "actions"}))


def reads_of(structure: Any, conditions: Collection[str] = ()) -> Reads:
    """What the expressions in any JSON read; `conditions` are keys of the outermost map that hold CEL itself.

    Raises:
        ExpressionError: an expression is not closed, or goes beyond its bounds.
    """
    reads = Reads()
    if isinstance(structure, str):
        if "${{" not in structure:
            return reads
        for part in parse_template(structure):
            if isinstance(part, Code):
                reads |= reads_of_condition(part.source)
    elif isinstance(structure, Mapping):
        for key, item in structure.items():
            condition = key in conditions and isinstance(item, str)
            reads |= reads_of_condition(item) if condition else reads_of(item)
    elif isinstance(structure, (list, tuple)):
        for item in structure:
            reads |= reads_of(item)
    return reads
