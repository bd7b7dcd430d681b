"""YAML with the place of every value: the events of libyaml, read by the core schema of YAML 1.2.

Our own reading of events, because the library's constructors read YAML 1.1 (``on`` is true, ``0640`` is 416,
``12:30`` is 750), keep the last of two equal keys, and expand aliases without a bound.
"""

import math
import re
from typing import Any, NoReturn

import yaml

from executor.documents.places import INT_MAX, INT_MIN, MAX_DEPTH, Document, Path, Place, refuse
from executor.model.strategy import MAX_BYTES

try:
    from yaml import CBaseLoader as Parser
except ImportError:  # a PyYAML built without libyaml: slower, and the same otherwise
    from yaml import BaseLoader as Parser  # type: ignore[assignment]

_WORDS = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
} | dict.fromkeys(("null", "Null", "NULL", "~", ""))
# No octal in either spelling: digits after a leading zero stay text, so that no mode changes silently.
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_QUOTE = "put it in quotes"

# What libyaml says, what it mostly means, and the remedy.
_MEANINGS = (
    (
        r"mapping values are not allowed",
        "a ': ' stands where no key is expected",
        "put text that holds ': ' in quotes",
    ),
    (r"character '\\?t' that cannot start|\\t", "a tab is used for indentation", "indent with spaces"),
    (r"cannot start any token", "a value begins with a character that YAML keeps for itself", _QUOTE),
    (
        r"expected ',' or '[}\]]'|flow (mapping|sequence)",
        "a list or map in flow style is broken here",
        "put text that holds braces, brackets or commas in quotes",
    ),
    (
        r"escape|hexdecimal",
        "an unknown escape in double quotes",
        "write two backslashes for one, or use single quotes",
    ),
    (r"mapping keys are not allowed", "a leading '?' makes a key", _QUOTE),
    (r"quoted scalar", "a quote is opened and never closed", "close it, or put the text in the other quotes"),
    (
        r"could not find expected ':'",
        "a key without ':'",
        "write `key: value`; text of several lines begins with '|'",
    ),
    (
        r"expected <block end>|expected '-'|block (mapping|collection|sequence)",
        "the indentation does not fit what stands above",
        "bring it in line with its neighbours",
    ),
    (r"alias|anchor", "a leading '&' or '*' makes an anchor or alias", _QUOTE),
    (r"tag|URI|handle", "a leading '!' makes a tag", _QUOTE),
)


def read_yaml(text: str, name: str) -> Document:
    """Read one YAML document.

    Raises:
        StrategyInvalid: it is no YAML, or holds what a strategy cannot hold.
    """
    try:
        data, place = _Reading(text, name).document()
    except yaml.MarkedYAMLError as error:
        _refuse_marked(error, text, name)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        refuse(
            name,
            "a control character stands in the text",
            "remove it, or write an escape in double quotes",
            line,
            column,
        )
    return Document(data, name, lambda: place)


def _refuse_marked(error: yaml.MarkedYAMLError, text: str, name: str) -> NoReturn:
    lines = text.splitlines()
    mark = error.problem_mark
    at_end = mark is None or (mark.line, mark.column) >= (len(lines) - 1, len(lines[-1]))
    if error.context_mark and at_end:
        mark = error.context_mark  # found out at the end of the file: what was opened and not closed tells more
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    told = f"{error.context or ''} {error.problem or ''}".strip()
    written = lines[line - 1] if 0 < line <= len(lines) else ""
    if "\t" in written[: len(written) - len(written.lstrip())]:
        refuse(name, "a tab is used for indentation", "indent with spaces", line, column)
    if "{{" in written and "flow" in told:
        refuse(name, "braces break a map or list in flow style", f'{_QUOTE}: "${{{{ ... }}}}"', line, column)
    for pattern, meaning, remedy in _MEANINGS:
        if re.search(pattern, told):
            refuse(name, f"not valid YAML: {meaning}", remedy, line, column)
    refuse(name, f"not valid YAML: {told}", "", line, column)


class _Reading:
    """Turns events into data and places. Recursion is bounded by `MAX_DEPTH`."""

    def __init__(self, text: str, name: str) -> None:
        self.parser = Parser(text)
        self.name = name
        self.anchors: dict[str, tuple[Any, Place, int] | None] = {}
        """Data, place and weight of each anchor; None while it is being read."""
        self.weight = 0
        self.repeated = 0

    def document(self) -> tuple[Any, Place]:
        self.next()  # the stream begins
        event = self.next()
        if isinstance(event, yaml.StreamEndEvent):
            refuse(self.name, "the file is empty", "write a strategy: it begins with `name:`", 1, 1)
        found = self.node(self.next(), (), 0)
        self.next()  # the document ends
        event = self.next()
        if not isinstance(event, yaml.StreamEndEvent):
            self.fail(event, (), "a second YAML document begins", "keep one strategy per file; remove the '---'")
        return found

    def next(self) -> Any:
        return self.parser.get_event()

    def fail(self, event: Any, path: Path, message: str, remedy: str = "") -> NoReturn:
        mark = event.start_mark
        refuse(self.name, message, remedy, mark.line + 1, mark.column + 1, path)

    def node(self, event: Any, path: Path, depth: int) -> tuple[Any, Place]:
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, path)
        if event.tag is not None:
            self.fail(
                event,
                path,
                f"the tag {event.tag!r:.60} is not read here",
                f"where text begins with '!', {_QUOTE}",
            )
        anchor, before = event.anchor, self.weight
        if anchor is not None:
            self.anchors[anchor] = None
        mark = event.start_mark
        place = Place(mark.line + 1, mark.column + 1)
        value = self.content(event, path, depth, place)
        if anchor is not None:
            self.anchors[anchor] = (value, place, self.weight - before)
        return value, place

    def content(self, event: Any, path: Path, depth: int, place: Place) -> Any:
        self.weight += 1
        if isinstance(event, yaml.ScalarEvent):
            self.weight += len(event.value)
            return self.scalar(event, path)
        if depth >= MAX_DEPTH:
            self.fail(event, path[:8], f"nested deeper than {MAX_DEPTH} levels", "flatten it")
        place.children = {}
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(path, depth, place.children)
        return self.sequence(path, depth, place.children)

    def alias(self, event: Any, path: Path) -> tuple[Any, Place]:
        if event.anchor not in self.anchors:
            self.fail(
                event,
                path,
                f"'*{event.anchor}' is an alias of nothing",
                f"where text begins with '*', {_QUOTE}",
            )
        found = self.anchors[event.anchor]
        if found is None:
            self.fail(event, path, f"the alias '*{event.anchor}' stands inside what it repeats", "write it out")
        value, place, weight = found
        self.weight += weight
        self.repeated += weight
        if self.repeated > MAX_BYTES // 4:
            self.fail(event, path, "aliases repeat too much: the document would grow without bound", "write it out")
        mark = event.start_mark
        return value, Place(mark.line + 1, mark.column + 1, place.children)

    def mapping(self, path: Path, depth: int, children: dict[str | int, Place]) -> dict[str, Any]:
        data: dict[str, Any] = {}
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            key = self.key(event, path)
            if key in data:
                before = children[key].line
                self.fail(
                    event,
                    (*path, key),
                    f"{key!r} stands twice in one map, first on line {before}",
                    "remove one",
                )
            mark = event.start_mark
            data[key], place = self.node(self.next(), (*path, key), depth + 1)
            # A problem with the entry is shown at its key: that is where the eye looks for it.
            children[key] = Place(mark.line + 1, mark.column + 1, place.children)
        return data

    def key(self, event: Any, path: Path) -> str:
        if isinstance(event, yaml.AliasEvent) or not isinstance(event, yaml.ScalarEvent):
            self.fail(
                event,
                path,
                "a key is text, not a list, a map or an alias",
                f"where text holds braces, {_QUOTE}",
            )
        if event.tag is not None:
            self.fail(
                event,
                path,
                f"the tag {event.tag!r:.60} is not read here",
                f"where text begins with '!', {_QUOTE}",
            )
        key = self.scalar(event, path)
        if key == "<<" and event.implicit[0]:
            self.fail(event, path, "'<<' merges maps in YAML 1.1 only", "repeat the fields, or use `defaults`")
        if not isinstance(key, str):
            self.fail(event, path, f"the key {event.value or 'null'!r:.60} is not text", _QUOTE)
        return key

    def sequence(self, path: Path, depth: int, children: dict[str | int, Place]) -> list[Any]:
        data: list[Any] = []
        while not isinstance(event := self.next(), yaml.SequenceEndEvent):
            index = len(data)
            value, children[index] = self.node(event, (*path, index), depth + 1)
            data.append(value)
        return data

    def scalar(self, event: Any, path: Path) -> Any:
        text: str = event.value
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            self.fail(event, path, "half of a surrogate pair is no character", "write the whole character")
        if not event.implicit[0]:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if text[0] not in "+-.0123456789":
            return text
        if _INTEGER.fullmatch(text):
            value = 0 if len(text) > 20 else int(text, 0)
            if len(text) > 20 or not INT_MIN <= value <= INT_MAX:
                self.fail(event, path, f"{text[:40]} does not fit into 64 bits", _QUOTE)
            return value
        if _FLOAT.fullmatch(text):
            number = float(text)
            if math.isinf(number):
                self.fail(event, path, f"{text[:40]} is too large for a number", _QUOTE)
            return number
        if _NOT_FINITE.fullmatch(text):
            self.fail(event, path, f"{text} is no JSON", f"{_QUOTE}, or leave it out")
        return text
