"""From a file, a text or a message to a `Document`."""

import math
from pathlib import Path
from typing import Any

from executor.documents.json_text import read_json
from executor.documents.places import INT_MAX, INT_MIN, MAX_DEPTH, Document, refuse
from executor.documents.places import Path as DataPath
from executor.documents.yaml_text import read_yaml
from executor.model.strategy import MAX_BYTES

_TOO_LARGE = f"larger than {MAX_BYTES // (1024 * 1024)} MB"


def load_file(path: Path) -> Document:
    """Read a YAML or JSON file.

    Raises:
        StrategyInvalid: it cannot be read, or is no document that a strategy could be.
    """
    name = str(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        refuse(name, "there is no such file", "check the path")
    except IsADirectoryError:
        refuse(name, "this is a directory", "name the strategy file in it")
    except PermissionError:
        refuse(name, "the file may not be read", "check its permissions")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        refuse(name, f"the file cannot be read: {error}", "check the path")
    if len(content) > MAX_BYTES:
        refuse(name, f"the file is {_TOO_LARGE}", "split the strategy, or keep large content in files of its own")
    return load_text(_decoded(content, name), name)


def load_text(text: str, name: str) -> Document:
    """Read YAML or JSON text; `name` stands in problems.

    It is JSON when the name ends in ``.json``, or says nothing and the text begins with ``{``.

    Raises:
        StrategyInvalid: it is no document that a strategy could be.
    """
    if len(text) > MAX_BYTES:
        refuse(name, f"the text is {_TOO_LARGE}", "split the strategy, or keep large content in files of its own")
    text = text.removeprefix("\ufeff")
    if not text.strip():
        refuse(name, "the file is empty", "write a strategy: it begins with `name:`", 1, 1)
    suffix = Path(name).suffix.lower()
    if suffix == ".json" or (suffix not in (".yaml", ".yml") and text.lstrip().startswith("{")):
        return read_json(text, name)
    return read_yaml(text, name)


def load_data(data: object, name: str = "<strategy>") -> Document:
    """Take structured data as it came, from a message for instance; it has no lines.

    Raises:
        StrategyInvalid: it is not JSON, too large, too deep, or holds itself.
    """
    return Document(_Copy(name).of(data, (), 0), name)


def _decoded(content: bytes, name: str) -> str:
    if b"\0" in content:
        refuse(name, "this is a binary file", "a strategy is YAML or JSON text")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        message = f"the file is not UTF-8: byte 0x{content[error.start]:02x} is no character there"
        refuse(name, message, "save it as UTF-8", line, column)


class _Copy:
    """Copies data into plain JSON types and weighs it on the way."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.weight = 0

    def of(self, value: object, path: DataPath, depth: int) -> Any:
        self.weigh(1)
        if isinstance(value, (dict, list, tuple)) and depth >= MAX_DEPTH:
            refuse(self.name, f"nested deeper than {MAX_DEPTH} levels", "flatten it", path=path[:8])
        if isinstance(value, dict):
            return {self.key(key, path): self.of(item, (*path, key), depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.of(item, (*path, index), depth + 1) for index, item in enumerate(value)]
        return self.scalar(value, path)

    def key(self, key: object, path: DataPath) -> str:
        if not isinstance(key, str):
            refuse(self.name, f"the key {key!r:.80} is not text", "keys are text", path=path)
        return str(self.scalar(key, path))

    def scalar(self, value: object, path: DataPath) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            self.weigh(len(value))
            if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
                refuse(self.name, "half of a surrogate pair is no character", "send valid text", path=path)
            return str(value)
        if isinstance(value, int):
            if not INT_MIN <= value <= INT_MAX:
                refuse(self.name, "an integer does not fit into 64 bits", "send it as text", path=path)
            return int(value)
        if not isinstance(value, float):
            remedy = "send text, numbers, booleans, lists and maps"
            refuse(self.name, f"a {type(value).__name__} is no JSON", remedy, path=path)
        if not math.isfinite(value):
            refuse(self.name, f"{value} is no JSON", "send a finite number, or text", path=path)
        return float(value)

    def weigh(self, amount: int) -> None:
        self.weight += amount
        if self.weight > MAX_BYTES:
            refuse(self.name, f"the document is {_TOO_LARGE}", "split the strategy")
