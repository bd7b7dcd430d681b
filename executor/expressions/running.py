"""Evaluating expressions, within bounds.

What goes in is measured, what it may cost is bounded before it starts, and what comes out is measured again.
"""

import json
import shlex
from collections.abc import Collection, Mapping
from typing import Any

from executor.expressions.compiler import CompilationError, in_our_words, program
from executor.expressions.cost import refuse_costly
from executor.expressions.templates import Code, is_whole, parse_template
from executor.expressions.tokens import Access, Outline, outline
from executor.expressions.values import Measure, Plain, short
from executor.model.errors import ExpressionError


def evaluate(source: str, values: Mapping[str, Any]) -> Any:
    """What `source` gives, as JSON. `values` holds a value for each name that it reads, ``actions`` by id.

    Raises:
        ExpressionError: it cannot be compiled, reads what is not there, fails, or goes beyond its bounds.
    """
    found = outline(source)
    operands = [access for access in found.accesses if access.tested]
    compiled = program(_with_operands(source, found), len(operands))
    if isinstance(compiled, CompilationError):
        raise ExpressionError(f"`{short(source)}`: {compiled}", source, compiled.offset + 1)
    data = _read(source, found, values)
    data.update({f"__operand{number}": _operand(access, values) for number, access in enumerate(operands)})
    try:
        value = compiled.eval(data=data)
        kind = value.type().name()
        if kind.upper() != "ERROR":
            return Plain(source).of(value, 0)
        told = str(value.plain_value())
    except (RuntimeError, OverflowError, UnicodeError) as error:
        told = str(error)
    raise ExpressionError(f"`{short(source)}`: {_reason(told, found, values)}", source)


def holds(source: str, values: Mapping[str, Any]) -> bool:
    """Whether the condition is true.

    Raises:
        ExpressionError: it fails, or gives neither true nor false.
    """
    value = evaluate(source, values)
    if not isinstance(value, bool):
        shown = json.dumps(value, ensure_ascii=False)[:80]
        raise ExpressionError(f"`{short(source)}` gives {shown}, where true or false is wanted", source)
    return value


def render(
    structure: Any,
    values: Mapping[str, Any],
    *,
    shell_quote_keys: Collection[str] = (),
    conditions: Collection[str] = (),
) -> Any:
    """`structure` with every ``${{ }}`` in its text replaced by what it gives.

    Args:
        structure: any JSON; text that is one expression keeps the type of its value.
        values: as for `evaluate`.
        shell_quote_keys: keys of the outermost map in whose text each value is quoted for a shell.
        conditions: keys of the outermost map whose text is CEL without braces; they become what it gives.

    Raises:
        ExpressionError: see `evaluate`.
    """
    if not isinstance(structure, Mapping):
        return _rendered(structure, values, quote=False)
    return {
        key: evaluate(item, values)
        if key in conditions and isinstance(item, str)
        else _rendered(item, values, quote=key in shell_quote_keys)
        for key, item in structure.items()
    }


def quoted_parameters(uses: str) -> frozenset[str]:
    """Parameters of an action type that a shell reads, so that each value in them is quoted."""
    return frozenset({"run"}) if uses == "command" else frozenset()


def _rendered(structure: Any, values: Mapping[str, Any], *, quote: bool) -> Any:
    if isinstance(structure, str):
        return _text(structure, values, quote=quote)
    if isinstance(structure, Mapping):
        return {key: _rendered(item, values, quote=quote) for key, item in structure.items()}
    if isinstance(structure, (list, tuple)):
        return [_rendered(item, values, quote=quote) for item in structure]
    return structure


def _text(text: str, values: Mapping[str, Any], *, quote: bool) -> Any:
    if "${{" not in text:
        return text
    parts = parse_template(text)
    if is_whole(parts) and not quote:
        whole = parts[0]
        assert isinstance(whole, Code)
        return evaluate(whole.source, values)
    return "".join(part if isinstance(part, str) else _written(part, values, quote=quote) for part in parts)


def _written(part: Code, values: Mapping[str, Any], *, quote: bool) -> str:
    value = evaluate(part.source, values)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if quote and "\0" in text:
        raise ExpressionError(f"`{short(part.source)}` gives a NUL, which no shell takes", part.source)
    return shlex.quote(text) if quote else text


def _with_operands(source: str, found: Outline) -> str:
    """The source with what ``has`` looks into replaced: of null, has() is false instead of an error."""
    text, at, number = "", 0, 0
    for access in found.accesses:
        if access.tested:
            text += source[at : access.start] + f"__operand{number}"
            at, number = access.ends[-2], number + 1
    return text + source[at:]


def _operand(access: Access, values: Mapping[str, Any]) -> Any:
    value: Any = values.get(access.root)
    for step in access.steps[:-1]:
        value = value.get(step) if isinstance(value, Mapping) else None
    if isinstance(value, Mapping):
        return {access.steps[-1]: True} if access.steps[-1] in value else {}
    return {} if value is None else value


def _read(source: str, found: Outline, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the expression reads and nothing around it, measured: a result may hold much beside its exit code."""
    data: dict[str, Any] = {}
    whole: set[tuple[str, ...]] = set()
    for path in sorted({(one.root, *one.steps) for one in found.accesses if not one.tested}, key=len):
        if not any(path[:length] in whole for length in range(1, len(path))):
            _copy(path, values, data, whole)
    size = Measure(source)
    size.add(data, 0)
    if found.comprehensions or found.additions:
        refuse_costly(source, found, size, values)
    return data


def _copy(path: tuple[str, ...], values: Any, data: dict[str, Any], whole: set[tuple[str, ...]]) -> None:
    """Copy the value at `path`, or the first thing on the way there that is no map; of maps only that one entry."""
    for length, step in enumerate(path, 1):
        if step not in values:
            return
        value = values[step]
        if length == len(path) or not isinstance(value, Mapping):
            data[step] = value
            whole.add(path[:length])
            return
        values, data = value, data.setdefault(step, {})


def _reason(told: str, found: Outline, values: Mapping[str, Any]) -> str:
    if "budget" in told:
        return "it takes more than 10,000 steps; let an action do it"
    if any(sign in told for sign in ("non-message", "NOT_FOUND", "No value with name", "overload")):
        for access in found.accesses:
            missing = _missing(access, values)
            if missing:
                return missing
    return in_our_words(told)


def _missing(access: Access, values: Mapping[str, Any]) -> str:
    """Where the access leaves what is there; empty when it does not."""
    if access.tested:
        return ""
    value: Any = values
    path = ""
    for step in (access.root, *access.steps):
        if value is None:
            return f"{path} is null{_why_null(path)}, so it has no {step!r}"
        if not isinstance(value, Mapping):
            return ""
        if step not in value:
            known = ", ".join(sorted(map(str, value))[:12]) or "nothing"
            return f"{path} has no {step!r}; it has: {known}" if path else f"{step!r} is not known here"
        value = value[step]
        path = f"{path}.{step}" if path else step
    return f"{path} is null{_why_null(path)}" if value is None else ""


def _why_null(path: str) -> str:
    if path.startswith("actions.") and path.endswith(".result"):
        return " (the action did not succeed, or has not run)"
    return " (it was not given)" if path.startswith("inputs.") else ""
