"""The CEL library: loaded when the first expression is compiled, and turned into our words.

The library calls a failed evaluation a value, and everything else a RuntimeError. Neither leaves this module.
"""

import re
from functools import lru_cache
from typing import Any

from executor.expressions.scope import Kind
from executor.expressions.tokens import ROOTS

_OPERATORS = {"@in": "in", "_[_]": "[ ]", "_?_:_": "? :", "!_": "!", "-_": "-", "_&&_": "&&", "_||_": "||"}
_TYPES = (
    (r"wrapper\((\w+)\)", r"\1 or null"), (r"\bint64\b", "int"), (r"\buint64\b", "uint"),
    (r"\bnull_type\b", "null"), (r"map\(dyn, dyn\)|map\(string, dyn\)", "map"), (r"list\(dyn\)", "list"),
)  # fmt: skip
_SYNTAX = (
    (r"mismatched input '<EOF>'|no viable alternative at input '<EOF>'", "it ends where something is still expected"),
    (r"token recognition error at: '(.*)'", r"\1 cannot be read here; is a quote missing?"),
    (r"(?:extraneous|mismatched) input '(.+?)' expecting", r"'\1' does not fit here"),
    (r"no viable alternative at input '(.*)'", r"'\1' does not fit here"),
)


class CompilationError(Exception):
    """The compiler refused: message in our words, offset in the source from 0 (-1: unknown)."""

    def __init__(self, message: str, offset: int, name: str = "") -> None:
        self.offset = offset
        self.name = name
        """The name that it does not know, when that is why."""
        super().__init__(message)


def placeholder(kind: Kind) -> str:
    """The variable that stands for every value of that kind while types are checked."""
    return "__" + kind.replace("?", "_or_null")


@lru_cache(maxsize=2048)
def result_type(source: str) -> str | CompilationError:
    """The type of a source whose names were replaced by placeholders, such as ``bool``; or why it has none."""
    compiled = _compile(_checking_environment(), source)
    return compiled if isinstance(compiled, CompilationError) else str(compiled.return_type()).lower()


@lru_cache(maxsize=1024)  # about 10 KB each
def program(source: str, spare: int) -> Any:
    """A compiled expression whose names are all dynamic, or a `CompilationError`; `spare` operands of ``has``."""
    return _compile(_running_environment(spare), source)


@lru_cache(maxsize=1)
def _checking_environment() -> Any:
    from cel_expr_python import cel

    kinds = {
        "dyn": cel.Type.DYN, "string": cel.Type.STRING, "int": cel.Type.INT, "bool": cel.Type.BOOL,
        "list": cel.Type.List(cel.Type.DYN), "map": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
        "strings": cel.Type.List(cel.Type.STRING), "labels": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
        "string_or_null": cel.Type("google.protobuf.StringValue"),
        "int_or_null": cel.Type("google.protobuf.Int64Value"),
        "bool_or_null": cel.Type("google.protobuf.BoolValue"),
    }  # fmt: skip
    return cel.NewEnv(variables={f"__{name}": kind for name, kind in kinds.items()})


@lru_cache(maxsize=16)
def _running_environment(spare: int) -> Any:
    from cel_expr_python import cel

    names = [*ROOTS, *(f"__operand{number}" for number in range(spare))]
    return cel.NewEnv(variables=dict.fromkeys(names, cel.Type.DYN))


def _compile(environment: Any, source: str) -> Any:
    try:
        return environment.compile(source)
    except RuntimeError as error:
        return _refusal(str(error), source)


def _refusal(told: str, source: str) -> CompilationError:
    if "recursion" in told:
        return CompilationError("it is nested too deeply: at most 32 levels", -1)
    found = re.search(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)", told)
    if found is None:
        return CompilationError(told.removesuffix(" [INVALID_ARGUMENT]"), -1)
    line, column, message = int(found[1]), int(found[2]), found[3].removesuffix(" [INVALID_ARGUMENT]")
    before = source.split("\n")[: max(0, line - 1)]
    offset = -1 if line < 1 else sum(len(one) + 1 for one in before) + max(0, column - 1)
    unknown = re.match(r"undeclared reference to '([^']*)'", message)
    if unknown:
        what = "function" if source[offset : offset + 1] == "(" else "name"
        return CompilationError(f"there is no {what} '{unknown[1]}'", offset, unknown[1])
    return CompilationError(in_our_words(message), offset)


def in_our_words(message: str) -> str:
    """What the library says, without its jargon."""
    message = re.sub(r" ?\[[A-Z_]+\]$", "", message.split("\n", maxsplit=1)[0].strip())
    message = re.sub(r"^[A-Z_]+: ", "", message)
    overload = re.match(r"found no matching overload for '(.+?)' applied to '(.*)'", message) or re.match(
        r"No matching overloads found : (.+?)(?:\((.*)\))?$", message
    )
    if overload:
        operands = _listed(overload[2]) if overload[2] else "a value of this kind"
        return f"{_operator(overload[1])} cannot be applied to {operands}"
    if message.startswith("Syntax error:"):
        for pattern, words in _SYNTAX:
            found = re.search(pattern, message)
            if found:
                return found.expand(words)
    return message


def _operator(name: str) -> str:
    method = re.match(r"\((.*)\)\.(\w+)$", name)
    if method:
        return f"{method[2]}() of {_listed(method[1])}"
    known = _OPERATORS.get(name)
    return f"'{known or name.strip('_')}'" if known or name.startswith("_") else f"{name}()"


def _listed(kinds: str) -> str:
    kinds = kinds.strip("()")
    for pattern, words in _TYPES:
        kinds = re.sub(pattern, words, kinds)
    return kinds.replace(", ", " and ") or "nothing"
