"""The reference of the strategy file: docs/templates/strategy.md, filled in from the models and the settings."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from config.groups import ExecutionSettings, RollbackSettings
from executor.catalogue import MemoryCatalogue
from executor.cli import statuses
from executor.model.durations import format_duration
from executor.model.execution import ActionStatus, ExecutionState
from executor.model.plan import RetryRule
from executor.model.strategy import MAX_ACTIONS, MAX_BYTES
from executor.report import FORMAT
from executor.schema import json_schema
from executor.validation import unbuilt

TEMPLATE = Path(__file__).parent / "templates" / "strategy.md"

_EXPRESSION = "#/$defs/expression"
_WHERE = {"Strategy": "strategy", "Rollback": "rollback", "Action": "action"}
_EXECUTION, _ROLLBACK = ExecutionSettings(), RollbackSettings()

_DEFAULTS: dict[str, Any] = {
    "Action.device": "any that can",
    "Action.agent": "any",
    "Action.devices": "",
    "Action.max_unavailable": "all",
    "Action.capabilities": "",
    "Action.when": "true",
    "Action.timeout": _EXECUTION.default_timeout,
    "Action.retry": "see below",
    "Action.on_failure": "rollback",
    "Action.compensate": "auto",
    "Action.idempotent": "as its type says",
    "Action.with": "{}",
    "Compensation.with": "{}",
    "Compensation.timeout": _EXECUTION.default_timeout,
    "Fallback.with": "{}",
    "Fallback.compensate": "auto",
    "Limits.timeout": _EXECUTION.timeout,
    "Limits.parallel": _EXECUTION.parallel_limit,
    "Limits.max_failures": "any number",
    "Probe.with": "{}",
    "Probe.device": "that of `defaults`, or any that can",
    "Retry.max_attempts": _EXECUTION.max_retries,
    "Retry.delay": _EXECUTION.retry_delay,
    "Retry.multiplier": _EXECUTION.retry_multiplier,
    "Retry.max_delay": _EXECUTION.retry_max_delay,
    "Retry.jitter": _EXECUTION.retry_jitter,
    "Retry.on": ", ".join(RetryRule().on),
    "Rollback.mechanism": "adaptive",
    "Rollback.actions": "",
    "SnapshotEntry.with": "{}",
    "SnapshotEntry.device": "that of `defaults`, or the one on which all actions run",
    "Rollback.timeout": f"{format_duration(_ROLLBACK.rollback_timeout)} and what its compensations may take",
    "Input.default": "",
}
"""What a key that is left out means; those of the settings can be set."""

_MEANINGS = {
    "Compensation.with": "Its parameters.",
    "Compensation.timeout": "Of one attempt.",
    "Compensation.retry": "As of an action.",
    "Fallback.with": "Its parameters.",
    "Fallback.compensate": "The way back of the fallback.",
    "Input.type": "What a value must be.",
    "Input.default": "Its value where the run gives none.",
    "Input.required": "Whether the run must give one.",
    "Input.description": "Shown to people.",
    "Input.enum": "The values that it may have.",
    "Need.id": "The action.",
    "Need.require": "`ended`: it is enough that it ended, however it did.",
    "Phase.name": "Shown to people.",
    "Phase.actions": "They run side by side; `needs` between phases.",
    "Probe.with": "Its parameters.",
    "Probe.device": "Where it is asked.",
    "Retry.delay": "After the first attempt.",
    "Retry.multiplier": "By what each further delay is longer.",
    "Retry.max_delay": "No delay is longer.",
    "Retry.on": "Types and categories of errors after which another attempt is made.",
    "Rollback.mechanism": "See [below](#mechanisms).",
    "Rollback.actions": "With `partial`: only these are taken back; `restart@edge-1`: on that device alone. With "
    "`adaptive`: what `partial` would mean.",
    "Labels.labels": "Names to values; a device must have all of them.",
    "SnapshotEntry.with": "Its parameters; expressions may read inputs and context.",
    "SnapshotEntry.device": "Where it is taken.",
    "Rollback.timeout": "Of the whole rollback.",
}

_EXITS = (
    (statuses.COMPLETED, "completed"),
    (statuses.FAILED, "failed, and nothing is left that should have been taken back"),
    (statuses.WRONG, "the strategy or the call is wrong; nothing ran"),
    (statuses.REMAINING, "something is left for a person; wins over 1 and 4"),
    (statuses.CANCELLED, "cancelled"),
    (statuses.REFUSED, "refused; nothing ran"),
    (statuses.STILL_RUNS, "`--wait` ran out; it still runs"),
    (statuses.UNREACHABLE, "broker or ledger cannot be reached"),
    (statuses.LEFT, "left by a second Ctrl-C; it still runs"),
)


def page() -> str:
    """The whole page."""
    schema = json_schema(MemoryCatalogue())
    values = {
        "actions": f"{MAX_ACTIONS:,}",
        "megabytes": str(MAX_BYTES // 1024**2),
        "format": str(FORMAT),
        "states": ", ".join(f"`{state}`" for state in ExecutionState),
        "statuses": ", ".join(f"`{status}`" for status in ActionStatus if status != ActionStatus.READY),
        "result": f"{_EXECUTION.max_result_bytes // 1024} KB",
        "exits": table(("status", "meaning"), ((str(number), meaning) for number, meaning in _EXITS)),
        "unbuilt": "\n".join(_unbuilt()),
    }

    def fill(found: re.Match[str]) -> str:
        name = found[1]
        return _keys(schema, name.removeprefix("table ")) if name.startswith("table ") else values[name]

    return re.sub(r"(?<!\$)\{\{(\w+(?: \w+)?)\}\}", fill, TEMPLATE.read_text(encoding="utf-8"))


def table(heads: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _keys(schema: dict[str, Any], model: str) -> str:
    definition = schema if model == "Strategy" else schema["$defs"][model]
    order = ["id", "uses", "with"] if model == "Action" else []
    names = [*order, *(name for name in definition["properties"] if name not in order)]
    return table(("key", "type", "default", "meaning"), (_key(definition, model, name) for name in names))


def _key(definition: dict[str, Any], model: str, name: str) -> tuple[str, str, str, str]:
    spec, place = definition["properties"][name], f"{model}.{name}"
    absent = _absent(model, name)
    meaning = spec.get("description") or _MEANINGS.get(place) or ("" if absent == "all" else None)
    if meaning is None:
        raise LookupError(f"{place} has no meaning: write one in executor/schema.py or docs/strategy_reference.py")
    if absent:
        later = "[Not available yet](#not-available-yet)" if absent == "all" else f"{absent}: [not available yet]"
        meaning = f"{meaning} {later}{'' if absent == 'all' else '(#not-available-yet)'}.".strip()
    required = name in definition.get("required", ()) or place == "Action.uses"
    default = "required" if required else _default(_DEFAULTS.get(place, spec.get("default")))
    return f"`{name}`", kind(spec), default, meaning


def _absent(model: str, name: str) -> str:
    """``all``, the values of a key that are not available, or nothing."""
    for where, key, refused, _ in unbuilt.NOT_YET:
        if where == _WHERE.get(model) and key == name:
            return ", ".join(f"`{value}`" for value in refused) if isinstance(refused, tuple) else "all"
    return ""


def _default(value: Any) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, timedelta):
        return f"`{format_duration(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return value if isinstance(value, str) and " " in value else f"`{value}`"


def kind(spec: dict[str, Any]) -> str:
    """A type of the JSON Schema, for people."""
    if "anyOf" in spec:
        return ", or ".join(dict.fromkeys(kind(one) for one in spec["anyOf"] if one.get("$ref") != _EXPRESSION))
    if "$ref" in spec:
        name = spec["$ref"].rpartition("/")[2].rpartition(".")[2]
        return name.lower()
    if "enum" in spec or "const" in spec:
        values = spec.get("enum", [spec.get("const")])
        return ", ".join(f"`{value}`" for value in values) or "action type"
    if spec.get("type") == "array":
        return f"list of {kind(spec['items'])}" if spec.get("items") else "list"
    if spec.get("type") == "object":
        return "map"
    pattern = spec.get("pattern", "")
    known = {"(ms|s|m|h)$": "duration", "[a-z0-9][a-z0-9-]": "slug", "[A-Za-z0-9][A-Za-z0-9._-]": "device id"}
    named = next((shown for part, shown in known.items() if part in pattern), None)
    return named or {"string": "text", "boolean": "bool"}.get(spec.get("type", ""), spec.get("type", "any"))


def _unbuilt() -> Iterator[str]:
    for where, key, refused, harmless in unbuilt.NOT_YET:
        of = {"strategy": "of the strategy", "rollback": "of `rollback`", "action": "of an action"}[where]
        if isinstance(refused, tuple):
            yield f"- {', '.join(f'`{key}: {value}`' for value in refused)} {of}"
        else:
            fine = [value for value in harmless if value not in (None, [])]
            except_for = f", other than `{str(fine[0]).lower()}`" if fine else ""
            yield f"- `{key}` {of}{except_for}"
    for name in unbuilt._TYPES:
        yield f"- the action type{'s' if name.endswith('.') else ''} `{name}{'*' if name.endswith('.') else ''}`"
