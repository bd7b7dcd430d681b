"""Every expression of a strategy, checked with what is visible at its place."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from executor.documents.places import Path
from executor.expressions import ANY, EVERYTHING, Code, Scope, by_device, check, parse_template
from executor.model.errors import ExpressionError
from executor.validation.calls import Call, Types, calls
from executor.validation.inputs import input_kinds
from executor.validation.order import UNORDERED
from executor.validation.written import Report, Written, WrittenAction

_ON_DEVICE = frozenset({"device"})
_TAKING_BACK = frozenset({"device", "error", "result", "snapshot"})


class Conditions:
    """Checks expressions against the scopes of one strategy."""

    def __init__(self, written: Written, ranks: Mapping[str, int], types: Types, report: Report) -> None:
        self.written = written
        self.report = report
        self.types = types
        self.ranks = ranks
        results = {name: self._read_from(action) for name, action in written.by_id.items()}
        self.everything = Scope(inputs=input_kinds(written), ranks=ranks, results=results)

    def _results(self, action: WrittenAction) -> Any:
        # With a fallback the result is that of either type.
        uses = action.get("uses")
        return self.types.results(uses) if isinstance(uses, str) and not action.get("fallback") else ANY

    def _read_from(self, action: WrittenAction) -> Any:
        """What others read as its result: of a fan-out, that of each of its devices."""
        own, devices = self._results(action), action.get("devices")
        if devices is None:
            return own
        named = [name for name in devices if isinstance(name, str)] if isinstance(devices, list) else None
        return by_device(own, named)

    def check_all(self) -> None:
        for action in self.written.actions:
            self._action(action)
        for call in calls(self.written):
            self._call(call)
        for number, phase in enumerate(self.written.phases):
            if isinstance(phase, dict):
                scope = replace(self.everything, before=number + 1)
                self._several(phase.get("verify"), ("phases", number, "verify"), scope)
        self._several(self.written.data.get("success_criteria"), ("success_criteria",), self.everything)
        concurrency = self.written.data.get("concurrency")
        if isinstance(concurrency, dict):
            self._templates(concurrency.get("key"), ("concurrency", "key"), replace(self.everything, before=-1))

    def _scope_of(self, action: WrittenAction) -> Scope:
        # An action whose id is missing or taken twice has no rank; for it everything is visible.
        rank = self.ranks.get(action.id or "", UNORDERED)
        return replace(self.everything, before=EVERYTHING if rank == UNORDERED else rank, extras=_ON_DEVICE)

    def _action(self, action: WrittenAction) -> None:
        scope = self._scope_of(action)
        self._condition(action.get("when"), action.where("when"), scope)
        own = self._results(action)
        after = replace(scope, own=own, extras=frozenset({"device", "result"}))
        self._condition(action.get("success"), action.where("success"), after)
        approval = action.get("approval")
        if isinstance(approval, dict):
            self._templates(approval.get("reason"), (*action.where("approval"), "reason"), scope)

    def _call(self, call: Call) -> None:
        if call.role == "snapshot":  # taken before anything has run
            scope = replace(self.everything, before=-1, extras=_ON_DEVICE)
        elif call.action is None:
            scope = replace(self.everything, extras=_ON_DEVICE)
        elif call.role == "compensation":
            own = self.types.results(call.taken_back)
            scope = replace(self.everything, own=own, extras=_TAKING_BACK)
        else:
            scope = self._scope_of(call.action)
        kind = self.types.get(call.uses)
        conditions = kind.conditions if kind else ()
        for key, value in call.parameters.items():
            if key in conditions:
                self._condition(value, (*call.path, key), scope)
            else:
                self._templates(value, (*call.path, key), scope)
            self._key(key, (*call.path, key))

    def _several(self, value: Any, path: Path, scope: Scope) -> None:
        if isinstance(value, list):
            for index, one in enumerate(value):
                self._condition(one, (*path, index), scope)
        else:
            self._condition(value, path, scope)

    def _condition(self, value: Any, path: Path, scope: Scope) -> None:
        if not isinstance(value, str):
            return
        if "${{" in value:
            self.report.error(path, "this is CEL itself", "write it without ${{ }}")
            return
        self._expression(value, path, scope, "bool")

    def _templates(self, value: Any, path: Path, scope: Scope) -> None:
        for place, text in _texts_and_keys(value, path, self._key):
            if "${{" not in text:
                continue
            try:
                parts = parse_template(text)
            except ExpressionError as error:
                self.report.error(place, str(error), f"at column {error.column} of the text")
                continue
            for part in parts:
                if isinstance(part, Code):
                    self._expression(part.source, place, scope, "any")

    def _key(self, key: str, path: Path) -> None:
        if "${{" in key:
            self.report.error(path, "an expression cannot stand in a key", "expressions stand in values")

    def _expression(self, source: str, path: Path, scope: Scope, want: Literal["bool", "any"]) -> None:
        for fault in check(source, scope, want):
            shown = source if len(source) <= 80 else source[:77] + "..."
            where = f", column {fault.column}" if fault.column else ""
            self.report.error(path, f"in `{shown}`{where}: {fault.message}", fault.remedy)


def _texts_and_keys(value: Any, path: Path, see_key: Any) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            see_key(key, (*path, key))
            yield from _texts_and_keys(item, (*path, key), see_key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts_and_keys(item, (*path, index), see_key)
