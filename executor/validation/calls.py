"""Whatever calls an action type (actions, fallbacks, compensations, probes, snapshots): its type and parameters."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from executor.action import ActionType, WayBack
from executor.documents.places import Path
from executor.expressions import ANY, Shape, has_code, near, shape_of
from executor.model.secrets import PREFIX, is_secret, mentions_secret
from executor.ports import ActionCatalogue
from executor.validation.unbuilt import not_available_type
from executor.validation.wording import UNKNOWN_KEY, found_by_models, keys_below
from executor.validation.written import Report, Written, WrittenAction

Role = Literal["action", "fallback", "compensation", "probe", "snapshot"]

# Fields in which a secret is read; our own types read them nowhere else.
_SECRET_FIELDS = frozenset({"env", "stdin", "headers", "json", "body", "content"})
_NEVER_SECRET = frozenset({"run", "argv", "url", "params", "path", "cwd"})
_OURS = frozenset({
    "command", "file.create", "file.edit", "file.delete", "http.request", "http.check", "wait", "assert", "python",
})  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One use of an action type."""

    role: Role
    uses: str
    uses_path: Path
    parameters: Mapping[str, Any]
    path: Path
    """Of ``with``."""
    readable: bool
    """Whether ``with`` is a map at all."""
    action: WrittenAction | None
    taken_back: str = ""
    """For a compensation: the type of what it takes back."""


class Types:
    """The action types of a catalogue; one that is missing is looked for once."""

    def __init__(self, catalogue: ActionCatalogue) -> None:
        self._catalogue = catalogue
        self._found = functools.cache(self._look_up)

    def get(self, uses: str) -> ActionType | None:
        """The type, or None where there is none that can be loaded."""
        found = self._found(uses)
        return found if isinstance(found, ActionType) else None

    def why_not(self, uses: str) -> tuple[str, str]:
        """Message and remedy for a type that `get` does not give."""
        names = list(self._catalogue.names())
        found = self._found(uses)
        if uses in names and isinstance(found, str):
            return found, "repair or update the package that brings it"
        return f"unknown action type {uses!r}", near(uses, names) or "`rex actions` lists them"

    def results(self, uses: str) -> Shape:
        found = self.get(uses)
        return shape_of(found.Results) if found else ANY

    def _look_up(self, uses: str) -> ActionType | str:
        try:
            return self._catalogue.get(uses)
        except KeyError as error:
            return str(error)


def calls(written: Written) -> Iterator[Call]:
    """Every use of an action type in the strategy."""
    for action in written.actions:
        uses = action.get("uses")
        if isinstance(uses, str):
            yield _call("action", action.get("with"), uses, action, (action.where("uses"), action.where("with")))
            yield from _way_back(action.get("compensate"), action.where("compensate"), uses, action)
        fallback = action.get("fallback")
        if isinstance(fallback, dict) and isinstance(fallback.get("uses"), str):
            path, called = action.where("fallback"), fallback["uses"]
            yield _call("fallback", fallback.get("with"), called, action, ((*path, "uses"), (*path, "with")))
            yield from _way_back(fallback.get("compensate"), (*path, "compensate"), called, action)
    rollback = written.data.get("rollback")
    probes = rollback.get("verify") if isinstance(rollback, dict) else None
    yield from _listed("probe", probes, ("rollback", "verify"))
    yield from _listed("snapshot", written.data.get("snapshot"), ("snapshot",))


def _listed(role: Role, entries: Any, above: Path) -> Iterator[Call]:
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        if isinstance(entry, dict) and isinstance(entry.get("uses"), str):
            path = (*above, index)
            yield _call(role, entry.get("with"), entry["uses"], None, ((*path, "uses"), (*path, "with")))


def _way_back(written: Any, path: Path, uses: str, action: WrittenAction) -> Iterator[Call]:
    if isinstance(written, dict) and isinstance(written.get("uses"), str):
        paths = ((*path, "uses"), (*path, "with"))
        yield _call("compensation", written.get("with"), written["uses"], action, paths, taken_back=uses)


def _call(
    role: Role, given: Any, uses: str, action: WrittenAction | None, paths: tuple[Path, Path], *, taken_back: str = ""
) -> Call:
    parameters = given if isinstance(given, dict) else {}
    return Call(role, uses, paths[0], parameters, paths[1], given is None or parameters is given, action, taken_back)


def check_call(call: Call, types: Types, report: Report) -> None:
    """Check that the type is there, and its parameters as far as they hold no expression."""
    _check_secrets(call, report)
    if not_available_type(call.uses):
        report.unbuilt(call.uses_path, f"the action type `{call.uses}`")
        return
    kind = types.get(call.uses)
    if kind is None:
        report.error(call.uses_path, *types.why_not(call.uses))
        return
    if not call.readable or not _check_parameters(call, kind, report):
        return
    for below, message in _asked(lambda: kind.problems(dict(call.parameters)), call, report, []):
        steps = tuple(int(step) if step.isdigit() else step for step in below.split(".") if step)
        report.error((*call.path, *steps), message)


def _check_parameters(call: Call, kind: ActionType, report: Report) -> bool:
    data = dict(call.parameters)
    try:
        kind.Parameters.model_validate(data)
    except ValidationError as error:
        for path, message, remedy in found_by_models(error, data, functools.partial(keys_below, kind.Parameters)):
            if path and not message.startswith(UNKNOWN_KEY) and _holds_code(_value_at(data, path)):
                continue  # what it will be is known only when it runs, and it is checked again then
            report.error((*call.path, *path), message, remedy)
        return False
    return True


def _asked(question: Any, call: Call, report: Report, otherwise: Any) -> Any:
    try:
        return question()
    except Exception as error:  # noqa: BLE001
        # Foreign code: its defect is a problem of this strategy, not the end of the whole check.
        what = f"the check of the action type {call.uses!r} failed: {type(error).__name__}: {error}"
        report.error(call.uses_path, what, "report it to those who made the type")
        return otherwise


def _holds_code(value: Any) -> bool:
    if isinstance(value, str):
        return has_code(value)
    if isinstance(value, dict):
        return any(map(_holds_code, value.values()))
    return isinstance(value, list) and any(map(_holds_code, value))


def _value_at(data: Any, path: Path) -> Any:
    for step in path:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _check_secrets(call: Call, report: Report) -> None:
    for key, value in call.parameters.items():
        for path, text in _texts(value, (*call.path, key)):
            if not mentions_secret(text):
                continue
            if key in _NEVER_SECRET or (call.uses in _OURS and key not in _SECRET_FIELDS):
                report.error(
                    path, f"a secret cannot stand in `{key}`", f"use one of {', '.join(sorted(_SECRET_FIELDS))}"
                )
            elif is_secret(text) and text.removeprefix(PREFIX).startswith("REX_"):
                report.error(path, "a strategy cannot read the worker's own settings", "name another variable")
            elif not is_secret(text):
                remedy = "write secret://env/NAME and nothing else; the secret itself may hold what stands around it"
                report.error(path, "a secret is a whole value", remedy)


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))


def check_way_back(action: WrittenAction, types: Types, report: Report) -> None:
    """Warn of what could not be taken back."""
    uses = action.get("uses")
    if isinstance(uses, str):
        _warn(action, uses, action.get("with"), action.get("compensate"), action.where("uses"), types, report)
    fallback = action.get("fallback")
    if isinstance(fallback, dict) and isinstance(fallback.get("uses"), str):
        path = (*action.where("fallback"), "uses")
        _warn(action, fallback["uses"], fallback.get("with"), fallback.get("compensate"), path, types, report)


def _warn(  # noqa: PLR0917
    action: WrittenAction, uses: str, given: Any, declared: Any, path: Path, types: Types, report: Report
) -> None:
    kind = types.get(uses)
    if kind is None or declared not in (None, "auto"):
        return
    parameters = given if isinstance(given, dict) else {}
    call = _call("action", given, uses, action, (path, path))
    if _asked(lambda: kind.way_back(dict(parameters)), call, report, None) is WayBack.DECLARED:
        message = f"{action.name} changes something, and {uses} cannot take it back"
        report.warning(path, message, "declare `compensate`, or `compensate: none` where nothing is to be taken back")
