"""Where things stand in a document, and how a mistake in it is refused."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from executor.model.errors import Problem, StrategyInvalid

MAX_DEPTH = 64
"""Maps and lists inside one another: enough for people, shallow enough for every recursion that follows."""
INT_MIN, INT_MAX = -(2**63), 2**63 - 1

Path = tuple[str | int, ...]


class Place:
    """Line and column of a value (both from 1), and the places of what it holds."""

    __slots__ = ("children", "column", "line")

    def __init__(self, line: int, column: int, children: "dict[str | int, Place] | None" = None) -> None:
        self.line = line
        self.column = column
        self.children = children


@dataclass(frozen=True)
class Document:
    """Plain data, and where each part of it was written."""

    data: Any
    file: str
    """The name that problems are reported under."""
    locate: Callable[[], Place] | None = field(default=None, repr=False, compare=False)
    """Gives the place of the whole; None where the data was never text."""

    def position(self, path: Path) -> tuple[int, int]:
        """Line and column of `path`, or of the nearest thing around it; (0, 0) where there is no text."""
        if self.locate is None:
            return (0, 0)
        place = self.locate()
        for step in path:
            inner = place.children.get(step) if place.children else None
            if inner is None:
                break
            place = inner
        return (place.line, place.column)

    def problem(self, path: Path, message: str, remedy: str = "") -> Problem:
        """A problem at `path`."""
        line, column = self.position(path)
        return Problem(message, format_path(path), self.file, line, column, remedy)


def format_path(path: Path) -> str:
    """``actions[2].with.url``; a key that is no plain word is written ``['like this']``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.replace("-", "_").isidentifier():
            text += f".{step}" if text else step
        else:
            text += f"[{step!r}]"
    return text


def refuse(  # noqa: PLR0917 - the order of every report: file, what, remedy, place
    file: str, message: str, remedy: str = "", line: int = 0, column: int = 0, path: Path = ()
) -> NoReturn:
    """Raise `StrategyInvalid` with one located problem."""
    raise StrategyInvalid([Problem(message, format_path(path), file, line, column, remedy)])
