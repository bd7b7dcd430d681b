"""A result is JSON of bounded size: checked where it is made, so that the action fails and not the ledger."""

import json
import math
from typing import Any

from executor.model.errors import ActionError, Classification

MAX_RESULT_BYTES = 256 * 1024
LARGEST_LIMIT = 16 * 1024 * 1024
"""No setting allows more."""
MAX_DEPTH = 64
_LARGEST = 2**63
_NOT_JSON = Classification("validation", "high", "fatal", "permanent", retryable=False)


def check_result(value: Any, *, limit: int = MAX_RESULT_BYTES) -> str:
    """`value` as compact JSON text.

    Raises:
        ActionError: it holds something that is not JSON (the message names the path), or is longer than `limit`
            bytes of UTF-8.
    """
    check_json(value, "result")
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    size = len(text.encode("utf-8"))
    if size > limit:
        raise ActionError(
            f"the result is {size} bytes of JSON, more than the {limit} that a result may have: "
            "return less, or write it to a file and return its path",
            _NOT_JSON,
        )
    return text


def check_json(value: Any, path: str, depth: int = 0) -> None:
    """Whether `value` is JSON that keeps its meaning; `path` is what it is called in messages.

    Raises:
        ActionError: it holds something that is not JSON, or is nested too deep.
    """
    if depth > MAX_DEPTH:
        raise _refused(path, f"nested deeper than {MAX_DEPTH} levels")
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, (int, float)):
        _check_number(value, path)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise _refused(path, f"a map with a key that is {_kind(key)}; JSON keys are text")
            _check_text(key, f"a key of {path}")
            check_json(inner, f"{path}.{key}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            check_json(inner, f"{path}[{index}]", depth + 1)
    else:
        raise _refused(path, f"{_kind(value)}, which JSON does not have")


def _check_number(value: float, path: str) -> None:
    if isinstance(value, int):
        if not -_LARGEST <= value < _LARGEST:
            raise _refused(path, "an integer beyond 64 bits; return it as text")
    elif not math.isfinite(value):
        raise _refused(path, f"{value}, which JSON does not have")


def _check_text(text: str, path: str) -> None:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise _refused(path, "text that is not Unicode (a lone surrogate); decode it with errors='replace'")


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _refused(path: str, what: str) -> ActionError:
    return ActionError(f"{path} is {what}", _NOT_JSON)
