"""JSON with the place of every value.

The C parser of the standard library reads the data. The places are found by a slower walk, and only when
somebody asks: when a problem has to be reported.
"""

import json
import re
from functools import cache
from json.decoder import scanstring  # type: ignore[attr-defined]  # public by use: not in the stubs
from typing import Any, NoReturn

from executor.documents.places import INT_MAX, INT_MIN, MAX_DEPTH, Document, Path, Place, refuse

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
_WORD = re.compile(r"-?\w+")
_CONSTANTS = {"true", "false", "null"}


class _UntoldError(Exception):
    """The fast reader met something; the walk will say what and where."""


def read_json(text: str, name: str) -> Document:
    """Read one JSON document.

    Raises:
        StrategyInvalid: it is no JSON, or holds what a strategy cannot hold.
    """

    @cache
    def locate() -> Place:
        return _Walk(text, name).document()

    try:
        data = json.loads(
            text, object_pairs_hook=_once, parse_constant=_constant, parse_int=_integer, parse_float=_float
        )
    except (ValueError, RecursionError, _UntoldError):
        locate()
        raise
    if _too_deep(text) or "\\u" in text:
        locate()
    return Document(data, name, locate)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _UntoldError
    return found


def _constant(_word: str) -> NoReturn:
    raise _UntoldError


def _integer(digits: str) -> int:
    if len(digits) > 20 or not INT_MIN <= (value := int(digits)) <= INT_MAX:
        raise _UntoldError
    return value


def _float(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise _UntoldError
    return value


def _too_deep(text: str) -> bool:
    # Brackets inside text may deceive it; then the walk finds nothing wrong.
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


class _Walk:
    """Goes through the text value by value; stops at the first mistake."""

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        self.at = 0
        self.line = 1
        self.line_start = 0
        self.counted = 0

    def document(self) -> Place:
        place = self.value((), 0)
        self.space()
        if self.at < len(self.text):
            self.fail("something follows the end of the JSON document", "keep one value per file")
        return place

    def place(self) -> Place:
        """The place of the current character; lines are counted once, going forward."""
        newlines = self.text.count("\n", self.counted, self.at)
        if newlines:
            self.line += newlines
            self.line_start = self.text.rfind("\n", self.counted, self.at) + 1
        self.counted = self.at
        return Place(self.line, self.at - self.line_start + 1)

    def fail(self, message: str, remedy: str = "", path: Path = ()) -> NoReturn:
        place = self.place()
        refuse(self.name, message, remedy, place.line, place.column, path)

    def space(self) -> None:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def peek(self) -> str:
        self.space()
        return self.text[self.at : self.at + 1]

    def value(self, path: Path, depth: int) -> Place:
        first = self.peek()
        place = self.place()
        if first in ("{", "["):
            if depth >= MAX_DEPTH:
                self.fail(f"nested deeper than {MAX_DEPTH} levels", "flatten it", path)
            self.at += 1
            place.children = self.members(path, depth) if first == "{" else self.elements(path, depth)
        elif first == '"':
            self.string(path)
        else:
            self.plain(path)
        return place

    def members(self, path: Path, depth: int) -> dict[str | int, Place]:
        children: dict[str | int, Place] = {}
        if self.peek() == "}":
            self.at += 1
            return children
        while True:
            if self.peek() != '"':
                self.fail("a key in double quotes is expected here", 'write "key": value', path)
            start = self.at
            key = self.string(path)
            if key in children:
                self.at = start  # not counted yet: the place of the key
                before = children[key]
                message = f"{key!r} stands twice in one map, first on line {before.line}"
                self.fail(message, "remove one of them", (*path, key))
            if self.peek() != ":":
                self.fail(f"a ':' is expected after {key!r}", path=path)
            self.at += 1
            children[key] = self.value((*path, key), depth + 1)
            if self.separator("}", path):
                return children

    def elements(self, path: Path, depth: int) -> dict[str | int, Place]:
        children: dict[str | int, Place] = {}
        if self.peek() == "]":
            self.at += 1
            return children
        while True:
            index = len(children)
            children[index] = self.value((*path, index), depth + 1)
            if self.separator("]", path):
                return children

    def separator(self, end: str, path: Path) -> bool:
        found = self.peek()
        if found not in (",", end) or not found:
            what = repr(found) if found else "the end of the file"
            self.fail(f"',' or '{end}' is expected here, not {what}", path=path)
        self.at += 1
        if found == end:
            return True
        if self.peek() == end:
            self.fail(f"a ',' before '{end}' is not allowed in JSON", "remove the comma", path)
        return False

    def string(self, path: Path) -> str:
        try:
            text, end = scanstring(self.text, self.at + 1, True)
        except json.JSONDecodeError as error:
            self.at = min(error.pos, len(self.text))
            self.fail(f"not valid text in JSON: {error.msg}", path=path)
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            self.fail("half of a surrogate pair is no character", "write the whole character", path)
        self.at = end
        return str(text)

    def plain(self, path: Path) -> None:
        number = _NUMBER.match(self.text, self.at)
        word = _WORD.match(self.text, self.at)
        if number and (not word or word.end() <= number.end()):
            digits = number[0]
            if number[1] is None and number[2] is None:
                if len(digits) > 20 or not INT_MIN <= int(digits) <= INT_MAX:
                    self.fail(f"{digits[:40]} does not fit into 64 bits", "put it in quotes", path)
            elif float(digits) in (float("inf"), float("-inf")):
                self.fail(f"{digits[:40]} is too large for a number", "put it in quotes", path)
            self.at = number.end()
        elif word and word[0] in _CONSTANTS:
            self.at = word.end()
        elif word and word[0].lstrip("-") in ("NaN", "Infinity"):
            self.fail(f"{word[0]} is no JSON", "put it in quotes, or leave it out", path)
        elif self.at >= len(self.text):
            self.fail("the file ends where a value is expected", path=path)
        else:
            shown = word[0][:40] if word else self.text[self.at]
            self.fail(f"{shown!r} is no JSON value", "text needs double quotes", path)
