"""Setting dotted keys of a JSON, YAML or TOML file.

TOML keeps its comments and layout (tomlkit). YAML is edited in place, at the marks of the parsed nodes, so that
everything else stays byte for byte; what cannot be edited so (an alias, a new key in a list) is refused. JSON is
written anew in its own indentation.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from executor.action import Json
from executor.model.errors import CONFIGURATION, ActionError
from workers.actions.yaml_edit import set_yaml

MAX_CHARACTERS = 1024 * 1024
"""Parsing more would outlast deadlines, which are not looked at in between."""
_PART = re.compile(r'"((?:[^"\\]|\\.)*)"|([^."]+)')


def set_keys(text: str, path: str, values: Json) -> str:
    """`text` of the file `path` with each dotted key of `values` set.

    Raises:
        ActionError: the suffix is unknown, the text does not parse, or a key cannot be set there.
    """
    suffix = path.rpartition(".")[2].lower() if "." in path.rpartition("/")[2] else ""
    write = _FORMATS.get(suffix)
    if write is None:
        raise ActionError(
            f"cannot set keys in {path}: its name must end in one of .{', .'.join(_FORMATS)}", CONFIGURATION
        )
    if len(text) > MAX_CHARACTERS:
        raise ActionError(f"{path} has {len(text)} characters: keys are set in up to {MAX_CHARACTERS}", CONFIGURATION)
    for dotted, value in values.items():
        keys = split_key(dotted)
        try:
            text = write(text, keys, value)
        except (ValueError, TypeError, LookupError, TOMLKitError) as error:
            raise ActionError(f"cannot set {dotted!r} in {path}: {error}", CONFIGURATION) from error
    return text


def split_key(dotted: str) -> list[str]:
    """``a.b."c.d".0`` as its parts; quotes protect a dot.

    Raises:
        ActionError: an empty part, or quotes that do not close.
    """
    parts: list[str] = []
    position = 0
    while True:
        found = _PART.match(dotted, position)
        if found is None:
            raise ActionError(
                f"{dotted!r} is no dotted key: write a.b.c, and a part with a dot in double quotes", CONFIGURATION
            )
        parts.append(found[2] if found[1] is None else found[1].replace('\\"', '"'))
        position = found.end()
        if position == len(dotted):
            return parts
        if dotted[position] != ".":
            raise ActionError(f"{dotted!r} is no dotted key: a dot is missing after {found[0]}", CONFIGURATION)
        position += 1


def _set_json(text: str, keys: list[str], value: Any) -> str:
    document = json.loads(text, object_pairs_hook=_unique)
    _assign(document, keys, value, dict)
    indent = re.search(r"\n([ \t]+)\S", text)
    compact = "\n" not in text.strip()
    written = json.dumps(
        document, ensure_ascii=False, allow_nan=False, indent=None if compact else indent[1] if indent else 2
    )
    return written + text[len(text.rstrip()) :]


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has one key twice: writing it would lose one of them")
    return found


def _set_toml(text: str, keys: list[str], value: Any) -> str:
    if value is None:
        raise ValueError("TOML has no null")
    document = tomlkit.parse(text)
    _assign(document, keys, value, tomlkit.table)
    return tomlkit.dumps(document)


def _assign(document: Any, keys: list[str], value: Any, make: Callable[[], Any]) -> None:
    """Set the value below `document`; maps that are missing on the way are made."""
    place = document
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        here = ".".join(keys[:depth]) or "the document"
        if isinstance(place, list):
            if not key.isdigit() or int(key) >= len(place):
                raise ValueError(f"{here} is a list of {len(place)}: {key!r} is no index of it")
            step: Any = int(key)
        elif isinstance(place, dict):
            step = key
            if not last and key not in place:
                place[key] = make()
        else:
            raise TypeError(f"{here} is neither a map nor a list")
        if last:
            place[step] = value
        else:
            place = place[step]


_FORMATS: dict[str, Callable[[str, list[str], Any], str]] = {
    "json": _set_json,
    "yaml": set_yaml,
    "yml": set_yaml,
    "toml": _set_toml,
}
