"""Setting one key of a YAML text in place: comments, order and layout of everything else stay as they are.

The edited text is parsed again and compared with what was wanted; so a corner of YAML that is not foreseen here
gives an error, never a damaged file.
"""

import copy
import json
import re
from typing import Any

import yaml

from executor.action import Json

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*")
_RESERVED = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def set_yaml(text: str, keys: list[str], value: Any) -> str:
    """`text` with `value` at `keys`; maps that are missing on the way are made.

    Raises:
        ValueError: the text is not one YAML document, or cannot be edited in place there.
    """
    try:
        root = yaml.compose(text, Loader=_LOADER)
        before = yaml.load(text, _LOADER)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"not one YAML document: {error}") from error
    edited = _edited(text, root, keys, value)
    wanted = _wanted(before, keys, value)
    try:
        found = yaml.load(edited, _LOADER)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise ValueError(f"it cannot be set in place there: {error}") from error
    if found != wanted:
        raise ValueError("it cannot be set in place there without changing something else")
    return edited


def _edited(text: str, root: yaml.Node | None, keys: list[str], value: Any) -> str:
    if root is None:
        return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{_entry(keys, value)}\n"
    node = root
    for depth, key in enumerate(keys):
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == key), None)
            if pair is None:
                return _inserted(text, node, keys[depth:], value)
            child = pair[1]
            if child.start_mark.index < pair[0].end_mark.index:
                raise ValueError(f"{'.'.join(keys[: depth + 1])} is an alias: set the key that it repeats")
        elif isinstance(node, yaml.SequenceNode):
            if not key.isdigit() or int(key) >= len(node.value):
                raise ValueError(f"{'.'.join(keys[:depth])} is a list of {len(node.value)}: {key!r} is no index")
            child = node.value[int(key)]
        else:
            raise ValueError(f"{'.'.join(keys[:depth])} is neither a map nor a list")  # noqa: TRY004
        node = child
    return _replaced(text, node, value)


def _replaced(text: str, node: yaml.Node, value: Any) -> str:
    start, end = node.start_mark.index, node.end_mark.index
    if text[start : start + 1] in "&!*" and start != end:
        raise ValueError("it has an anchor or a tag, which would be lost")
    written = _written(value)
    # block scalars and block collections end where the next thing begins: give back what belongs to that
    old = text[start:end]
    tail = old[len(old.rstrip()) :]
    if start == end and start > 0 and not text[start - 1].isspace():
        written = " " + written  # `key:` without a value
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        start = len(text[:start].rstrip(" \n"))
        written = " " + written
    return text[:start] + written + tail + text[end:]


def _inserted(text: str, node: yaml.MappingNode, keys: list[str], value: Any) -> str:
    if node.flow_style:
        comma = ", " if node.value else ""
        place = node.start_mark.index + 1
        return f"{text[:place]}{_entry(keys, value, flow=True)}{comma}{text[place:]}"
    first = node.value[0][0].start_mark
    last = _end_of(node)
    if last is None:  # a block scalar ends where the next thing begins: put the key above the first one
        entry = f"{_entry(keys, value)}\n{' ' * first.column}"
        return text[: first.index] + entry + text[first.index :]
    line_end = text.find("\n", last)
    place = len(text) if line_end < 0 else line_end
    return f"{text[:place]}\n{' ' * first.column}{_entry(keys, value)}{text[place:]}"


def _end_of(node: yaml.Node) -> int | None:
    """Where the text of `node` ends; None when only its follower tells."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return None
    return int(node.end_mark.index)


def _entry(keys: list[str], value: Any, *, flow: bool = False) -> str:
    for key in reversed(keys[1:]):
        value = {key: value}
    return f"{_written(keys[0]) if not flow else json.dumps(keys[0])}: {_written(value)}"


def _written(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _wanted(before: Any, keys: list[str], value: Any) -> Any:
    document: Any = copy.deepcopy(before) if before is not None else {}
    place = document
    for key in keys[:-1]:
        place = place[int(key)] if isinstance(place, list) else place.setdefault(_same(place, key), {})
    if isinstance(place, list):
        place[int(keys[-1])] = value
    else:
        place[_same(place, keys[-1])] = value
    return document


def _same(mapping: Json, key: str) -> Any:
    """The key of `mapping` that is written like `key`: YAML reads ``8080:`` as a number."""
    return next((each for each in mapping if str(each) == key), key)
