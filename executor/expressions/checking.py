"""What is wrong with an expression, found before anything runs."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from executor.expressions.compiler import CompilationError, placeholder, result_type
from executor.expressions.scope import Scope, Shape
from executor.expressions.tokens import MACROS, ROOTS, Access, Outline, outline
from executor.model.errors import ExpressionError

_FUNCTIONS = (
    "size", "has", "contains", "startsWith", "endsWith", "matches", "string", "int", "double", "uint", "bool", "dyn",
    "duration", "timestamp", "type", "getHours", "getMinutes", "getSeconds", *sorted(MACROS),
)  # fmt: skip
_AFTER_ACTIONS = re.compile(r"actions\s*\.\s*([A-Za-z0-9_-]+)")


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake in an expression."""

    message: str
    remedy: str = ""
    column: int = 0
    """Inside the expression, from 1; 0: the whole of it."""


def near(word: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?``, or nothing when none is near."""
    found = difflib.get_close_matches(word, list(known)[:2000], n=1, cutoff=0.6)
    return f"did you mean {found[0]!r}?" if found else ""


def check(source: str, scope: Scope, want: Literal["bool", "any"] = "any") -> tuple[Fault, ...]:
    """Every mistake that the text, the names and the types of an expression show; none: it can be evaluated."""
    if not source.strip():
        return (Fault("the expression is empty", "write a condition, or leave the field out"),)
    try:
        found = outline(source)
    except ExpressionError as error:
        return (Fault(str(error)),)
    faults = _dashed(source, scope) or _bindings(found) or _named(found, scope)
    return tuple(faults) if faults else _typed(source, found, scope, want)


def _dashed(source: str, scope: Scope) -> list[Fault]:
    """Ids that are no CEL names: with a dash they are a subtraction, with a leading digit a number."""
    faults = []
    for access in outline(source).accesses:
        found = _AFTER_ACTIONS.match(source, access.start) if access.root == "actions" else None
        if found is None:
            continue
        name = found[1].rstrip("-")
        remedy = f"write actions[{name!r}]"
        if name[0].isdigit():
            faults.append(Fault(f"'actions.{name}' begins with a digit", remedy, access.start + 1))
        elif "-" in name:
            if name not in scope.ranks:
                close = difflib.get_close_matches(name, list(scope.ranks)[:2000], n=1, cutoff=0.6)
                remedy = f"write actions[{(close or [name])[0]!r}]"
            faults.append(Fault(f"'actions.{name}' is a subtraction in CEL", remedy, access.start + 1))
    return faults


def _bindings(found: Outline) -> list[Fault]:
    faults = [
        Fault(f"{name.text!r} is taken: a comprehension needs a name of its own", "choose another", name.start + 1)
        for name in found.variables
        if name.text in ROOTS
    ]
    if found.private:
        faults.append(
            Fault(f"there is no name {found.private.text!r}", "names do not begin with '__'", found.private.start + 1)
        )
    return faults


def _named(found: Outline, scope: Scope) -> list[Fault]:
    faults = []
    for access in found.accesses:
        fault = _action(access, scope) if access.root == "actions" else _other(access, scope)
        if fault is not None:
            faults.append(fault)
    return faults


def _action(access: Access, scope: Scope) -> Fault | None:
    column = access.start + 1
    if not access.steps:
        what = "the name of an action cannot be computed" if access.open_index else "'actions' is no value by itself"
        return Fault(what, "name one action: actions.<id>, or actions['an-id']", column)
    name = access.steps[0]
    if name not in scope.ranks:
        return Fault(f"there is no action {name!r}", near(name, scope.ranks), column)
    if scope.ranks[name] >= scope.before:
        remedy = "put it earlier, or let this action need it"
        if scope.before < 0:
            remedy = "nothing has run here yet: use inputs or context"
        return Fault(f"the action {name!r} has not run by then", remedy, column)
    return _walk(access, scope.action(name), 1, f"actions.{name}")


def _other(access: Access, scope: Scope) -> Fault | None:
    column = access.start + 1
    if access.root in ("device", "error", "result", "snapshot") and access.root not in scope.extras:
        return Fault(f"'{access.root}' is not known here", f"known are {', '.join(scope.names())}", column)
    return _walk(access, scope.root(access.root), 0, access.root)


def _walk(access: Access, shape: Shape, at: int, name: str) -> Fault | None:
    for index in range(at, len(access.steps)):
        step = access.steps[index]
        inner = shape.below(step)
        if inner is None:
            if shape.fields is None or shape.open:
                return None
            what = f"there is no input {step!r}" if name == "inputs" else f"{name} has no {step!r}"
            known = ", ".join(sorted(shape.fields)[:20]) or "none"
            remedy = near(step, shape.fields) or f"there is: {known}"
            return Fault(what, remedy, access.ends[index] + 2)
        shape, name = inner, f"{name}.{step}"
    return None


def _typed(source: str, found: Outline, scope: Scope, want: str) -> tuple[Fault, ...]:
    replaced, shifts = _with_placeholders(source, found, scope)
    kind = result_type(replaced)
    if isinstance(kind, CompilationError):
        column = _original(kind.offset, shifts) + 1 if kind.offset >= 0 else 0
        remedy = near(kind.name, [*scope.names(), *_FUNCTIONS]) if kind.name else ""
        return (Fault(str(kind), remedy, column),)
    if want == "bool" and kind not in ("bool", "dyn", "bool_wrapper", "wrapper(bool)"):
        return (Fault(f"it gives {kind.split('<')[0]}, where true or false is wanted", "compare it with something"),)
    return ()


def _with_placeholders(source: str, found: Outline, scope: Scope) -> tuple[str, list[tuple[int, int]]]:
    """The source with each known name replaced by a variable of its kind, and pairs (new offset, old offset)."""
    text, at = "", 0
    shifts = [(0, 0)]
    for access in found.accesses:
        shape, used = _resolved(access, scope)
        end = access.ends[used]
        text += source[at : access.start]
        shifts.append((len(text), access.start))
        text += placeholder(shape.kind)
        shifts.append((len(text), end))
        at = end
    return text + source[at:], shifts


def _resolved(access: Access, scope: Scope) -> tuple[Shape, int]:
    """The kind of the longest declared part of an access, and how many steps that takes."""
    steps = access.steps[:-1] if access.tested else access.steps
    shape, used = scope.root(access.root), 0
    if access.root == "actions":
        shape, used = (scope.action(steps[0]), 1) if steps else (Shape("map"), 0)
    while used < len(steps) and (inner := shape.below(steps[used])) is not None:
        shape = inner
        used += 1
    return shape, used


def _original(offset: int, shifts: list[tuple[int, int]]) -> int:
    new, old = max(pair for pair in shifts if pair[0] <= offset)
    return old + offset - new
