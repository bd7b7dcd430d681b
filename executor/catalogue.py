"""Finding the action types that are installed: entry points of the group ``rex.actions``."""

import threading
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from executor.action import ActionType, FunctionAction

GROUP = "rex.actions"


class BrokenActionType(KeyError):
    """A type of that name is installed and cannot be loaded. A KeyError: it is as good as not there."""

    def __init__(self, uses: str, origin: str, reason: str) -> None:
        self.uses = uses
        self.reason = reason
        super().__init__(f"the action type {uses!r} ({origin}) cannot be loaded: {reason}")

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError shows the repr of its key otherwise


class MemoryCatalogue:
    """The types that it is given; the twin of `InstalledCatalogue`."""

    def __init__(self, *types: ActionType | FunctionAction | type[ActionType]) -> None:
        self._types = {found.uses: found for found in map(as_action_type, types)}

    def names(self) -> Iterable[str]:
        return sorted(self._types)

    def get(self, uses: str) -> ActionType:
        return self._types[uses]


class InstalledCatalogue:
    """What the installed packages offer. Each type is loaded when it is first asked for, and by itself.

    So a command that uses one type does not import the libraries of the others, and a package that is broken harms
    only those who use its types.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._points: dict[str, EntryPoint] | None = None
        self._types: dict[str, ActionType] = {}

    def names(self) -> Iterable[str]:
        """Every installed name, sorted; those that cannot be loaded too."""
        return sorted(self._installed())

    def get(self, uses: str) -> ActionType:
        """The type of that name.

        Raises:
            BrokenActionType: it is installed and cannot be loaded.
            KeyError: no such type is installed.
        """
        found = self._types.get(uses)
        if found is None:
            found = self._types.setdefault(uses, _load(self._installed()[uses]))
        return found

    def _installed(self) -> dict[str, EntryPoint]:
        with self._lock:
            if self._points is None:
                self._points = {point.name: point for point in entry_points(group=GROUP)}
            return self._points


def as_action_type(loaded: Any) -> ActionType:
    """An instance of what an entry point names: a class, an instance, or a function made by `action`.

    Raises:
        TypeError: it is none of them.
    """
    if isinstance(loaded, FunctionAction):
        return loaded.as_type()
    if isinstance(loaded, ActionType):
        return loaded
    if isinstance(loaded, type) and issubclass(loaded, ActionType):
        return loaded()
    raise TypeError(f"{loaded!r} is no ActionType and not made by @action")


def _load(point: EntryPoint) -> ActionType:
    try:
        found = as_action_type(point.load())
    except Exception as error:  # foreign code: whatever it raises, only this type is unusable
        raise BrokenActionType(point.name, point.value, f"{type(error).__name__}: {error}") from error
    if found.uses != point.name:
        reason = f"it calls itself {found.uses!r}: entry point and `uses` must agree"
        raise BrokenActionType(point.name, point.value, reason)
    return found
