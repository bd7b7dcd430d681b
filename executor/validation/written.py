"""The strategy as it was written: looked at before, and even where, the models refuse it.

Working on what was written, not on the models, lets one mistake not hide the others.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from executor.documents import Document
from executor.documents.places import Path
from executor.model.errors import Problem

MAX_PROBLEMS = 200
"""Nobody reads more, and to look for what was meant each time would take minutes in a large file."""


class TooManyProblems(Exception):
    """There is enough to mend."""


class Report:
    """Collects problems; the same one at the same place only once.

    Raises:
        TooManyProblems: from `error`, when there are `MAX_PROBLEMS`.
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self._found: dict[tuple[Path, str], Problem] = {}
        self._errors = 0
        self.not_available: set[tuple[Path, str]] = set()

    def error(self, path: Path, message: str, remedy: str = "") -> None:
        if (path, message) in self._found:
            return
        if self._errors == MAX_PROBLEMS:
            raise TooManyProblems
        self._errors += 1
        self._found[path, message] = self.document.problem(path, message, remedy)

    def unbuilt(self, path: Path, what: str) -> None:
        message = f"{what} is not available yet"
        self.error(path, message, "leave it out")
        self.not_available.add((path, message))

    def warning(self, path: Path, message: str, remedy: str = "") -> None:
        problem = self.document.problem(path, message, remedy)
        self._found.setdefault((path, message), replace(problem, severity="warning"))

    @property
    def only_unbuilt(self) -> bool:
        """Whether what stands in the way is nothing but parts that are not built yet."""
        errors = {key for key, problem in self._found.items() if problem.severity == "error"}
        return bool(errors) and errors == self.not_available

    def problems(self, severity: str) -> tuple[Problem, ...]:
        """In the order of the file."""
        found = [problem for problem in self._found.values() if problem.severity == severity]
        return tuple(sorted(found, key=lambda problem: (problem.line, problem.column)))


@dataclass(frozen=True)
class WrittenAction:
    """One action as written, with the fields that it takes over from ``defaults``."""

    path: Path
    own: Mapping[str, Any]
    defaults: Mapping[str, Any]
    phase: int
    """Number of its phase; 0 where there are none."""

    @property
    def id(self) -> str | None:
        found = self.own.get("id")
        return found if isinstance(found, str) else None

    @property
    def name(self) -> str:
        return repr(self.id) if self.id else "the action without id"

    def get(self, key: str) -> Any:
        """The field as it will hold; None where nobody says anything."""
        return self.own.get(key) if key in self.own or self._elsewhere(key) else self.defaults.get(key)

    def where(self, key: str) -> Path:
        """The place where that field is written."""
        own = key in self.own or key not in self.defaults or self._elsewhere(key)
        return (*self.path, key) if own else ("defaults", key)

    def _elsewhere(self, key: str) -> bool:
        """Whether it says itself where it runs, and so takes over no place of another kind."""
        other = {"device": "devices", "devices": "device", "max_unavailable": "device"}.get(key)
        return other is not None and self.own.get(other) is not None


@dataclass(frozen=True)
class Written:
    """The parts of a strategy as written; what is not of the right kind is left out."""

    data: Mapping[str, Any]
    defaults: Mapping[str, Any]
    actions: tuple[WrittenAction, ...]
    by_id: Mapping[str, WrittenAction] = field(default_factory=dict)

    @property
    def sequential(self) -> bool:
        return self.data.get("model", "sequential") == "sequential" and "phases" not in self.data

    @property
    def phases(self) -> list[Any]:
        found = self.data.get("phases")
        return found if isinstance(found, list) else []


def read_written(data: Mapping[str, Any]) -> Written:
    """Look at the data of a document."""
    defaults = data.get("defaults")
    defaults = defaults if isinstance(defaults, dict) else {}
    actions = tuple(_actions(data, defaults))
    by_id: dict[str, WrittenAction] = {}
    for action in actions:
        if action.id is not None:
            by_id.setdefault(action.id, action)
    return Written(data, defaults, actions, by_id)


def _actions(data: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[WrittenAction]:
    listed = data.get("actions")
    for index, item in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(item, dict):
            yield WrittenAction(("actions", index), item, defaults, 0)
    phases = data.get("phases")
    for number, phase in enumerate(phases if isinstance(phases, list) else []):
        inside = phase.get("actions") if isinstance(phase, dict) else None
        for index, item in enumerate(inside if isinstance(inside, list) else []):
            if isinstance(item, dict):
                yield WrittenAction(("phases", number, "actions", index), item, defaults, number)
