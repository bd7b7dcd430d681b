"""The JSON Schema of the strategy file, for editors: completion, descriptions, and `with` checked by `uses`."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from executor.action import ActionType
from executor.model.durations import format_duration
from executor.model.strategy import MAX_ACTIONS, Strategy
from executor.ports import ActionCatalogue

ID = "urn:resolution-executor:strategy:1"
_CALLERS = ("Action", "Compensation", "Fallback", "Probe", "SnapshotEntry")
_EXPRESSION = {"$ref": "#/$defs/expression"}

_DESCRIPTIONS: Mapping[str, Mapping[str, str]] = {
    "Strategy": {
        "name": "The strategy's id.",
        "description": "Shown to people.",
        "version": "A run keeps the version it began with.",
        "model": "The shape: one after the other, side by side, or phase by phase.",
        "inputs": "Values that a run is given; checked before it starts.",
        "defaults": "Fields that every action takes over unless it sets them.",
        "actions": "What is done; in a sequence in this order.",
        "phases": "Groups of actions: the next begins when all actions of the one before have ended.",
        "snapshot": "What is saved before the first action, to be restored when the execution is taken back.",
        "success_criteria": "CEL conditions that must all hold at the end.",
        "rollback": "How a failed execution is taken back.",
        "limits": "Bounds of the whole execution.",
    },
    "Action": {
        "id": "Unique in the strategy; what it did is read as actions.<id>.result.",
        "uses": "The action type.",
        "with": "Parameters of the action type; text may hold ${{ expressions }}.",
        "device": "Where it runs; left out: any live device that can.",
        "devices": "Where it runs, on each of them: ids, `all`, or {labels: {...}}; it is called id@device there.",
        "max_unavailable": "With `devices`: on how many of them at once, a count or a percentage.",
        "capabilities": "Only a device that announces all of them; `name=value` stands for a label.",
        "agent": "Only a device that is an agent of this kind: `rex worker --device ID --agent KIND`.",
        "needs": "Actions that must have ended before.",
        "when": "CEL condition; false: the action is skipped.",
        "timeout": "Of one attempt.",
        "retry": "How often, and after which delays, it is tried again.",
        "success": "CEL condition over `result`; false counts as a failure.",
        "on_failure": "After the last attempt: undo everything, halt without undoing, or go on.",
        "fallback": "Tried once after the last attempt failed.",
        "compensate": "The way back: `auto`, `none`, or a call of another action type.",
        "idempotent": "May it run again when nobody knows whether it ran?",
    },
    "Phase": {"verify": "CEL that must hold at the end of the phase."},
    "Compensation": {"after": "`started`: also when the action failed while it executed."},
    "Rollback": {"verify": "What must hold after the rollback; with `phased` after each phase too."},
    "Retry": {"max_attempts": "Counts the first attempt.", "jitter": "Share by which a delay varies, 0 to 1."},
    "Limits": {
        "timeout": "Of the whole execution.",
        "parallel": "Actions that run at once.",
        "max_failures": "Failures under `on_failure: continue` that are borne.",
    },
}


class AsWritten(GenerateJsonSchema):
    """Shows defaults as a person writes them: a duration is 10s, not PT10S."""

    def encode_default(self, dft: Any) -> Any:
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def json_schema(catalogue: ActionCatalogue) -> dict[str, Any]:
    """The schema (draft 2020-12), with the parameters of every action type that can be loaded."""
    schema = _tidy(Strategy.model_json_schema(by_alias=True, schema_generator=AsWritten))
    definitions: dict[str, Any] = schema.pop("$defs")
    types = dict(_loaded(catalogue))
    _describe("Strategy", schema)
    for name, definition in definitions.items():
        _describe(name, definition)
    calls: list[dict[str, Any]] = []
    actions: list[dict[str, Any]] = []
    for uses, kind in types.items():
        _add_parameters(uses, kind, definitions)
        condition = {"properties": {"uses": {"const": uses}}, "required": ["uses"]}
        then: dict[str, Any] = {"properties": {"with": {"$ref": f"#/$defs/with.{uses}"}}}
        actions.append({"if": condition, "then": then})  # an action may take `with` over from `defaults`
        calls.append({"if": condition, "then": {**then, "required": ["with"]} if _required(kind) else then})
    for name in _CALLERS:
        definitions[name]["properties"]["uses"] = {
            "enum": sorted(types),
            "description": "The action type.",
        }
        definitions[name]["allOf"] = actions if name == "Action" else calls
    definitions["expression"] = {"type": "string", "pattern": r"\$\{\{", "description": "Text with ${{ CEL }} in it."}
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        "title": "Strategy of the Resolution Executor",
        **schema,
        "$defs": definitions,
    }
    whole["oneOf"] = [{"required": ["actions"]}, {"required": ["phases"]}]
    for listed in ("actions", "phases"):
        whole["properties"][listed]["maxItems"] = MAX_ACTIONS
    _require_uses(whole)
    return whole


def _loaded(catalogue: ActionCatalogue) -> list[tuple[str, ActionType]]:
    found = []
    for uses in catalogue.names():
        try:
            found.append((uses, catalogue.get(uses)))
        except KeyError:
            continue  # one that cannot be loaded cannot be used either
    return found


def _require_uses(whole: dict[str, Any]) -> None:
    """`uses` may come from `defaults`; where it does not, each action needs it."""
    whole["$defs"]["Action"]["required"].remove("uses")
    needed = {"items": {"required": ["uses"]}}
    whole["if"] = {"properties": {"defaults": {"required": ["uses"]}}, "required": ["defaults"]}
    whole["else"] = {
        "properties": {"actions": needed, "phases": {"items": {"properties": {"actions": needed}}}},
    }


def _describe(name: str, definition: dict[str, Any]) -> None:
    for key, text in _DESCRIPTIONS.get(name, {}).items():
        definition["properties"][key]["description"] = text


def _required(kind: ActionType) -> bool:
    return any(info.is_required() for info in kind.Parameters.model_fields.values())


def _add_parameters(uses: str, kind: ActionType, definitions: dict[str, Any]) -> None:
    """The type's parameters as definitions of their own, an expression allowed in place of every value."""
    parameters = _tidy(kind.Parameters.model_json_schema(by_alias=True, schema_generator=AsWritten))
    inner = parameters.pop("$defs", {})
    renamed = {f"#/$defs/{name}": f"#/$defs/with.{uses}.{_plain(name)}" for name in inner}
    parameters["description"] = (type(kind).__doc__ or "").strip().split("\n", maxsplit=1)[0]
    definitions[f"with.{uses}"] = _open(parameters, renamed)
    for name, definition in inner.items():
        definitions[f"with.{uses}.{_plain(name)}"] = _open(definition, renamed)


def _plain(name: str) -> str:
    return re.sub(r"\W+", "_", name)


def _open(schema: dict[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """The schema of a map or list with its references renamed, and each value open for an expression."""
    opened = dict(schema)
    if "properties" in schema:
        opened["properties"] = {key: _value(one, renamed) for key, one in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict) and schema[key]:
            opened[key] = _value(schema[key], renamed)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            opened[key] = [_open(one, renamed) for one in schema[key]]
    if "$ref" in schema:
        opened["$ref"] = renamed.get(schema["$ref"], schema["$ref"])
    opened.pop("discriminator", None)
    return opened


def _value(schema: dict[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    opened = _open(schema, renamed)
    kinds = set(opened) - {"title", "description", "default", "examples"}
    if not kinds or (opened.get("type") == "string" and kinds == {"type"}):
        return opened
    outside: dict[str, Any] = {key: opened.pop(key) for key in ("title", "description", "default") if key in opened}
    return {**outside, "anyOf": [opened, _EXPRESSION]}


def _tidy(schema: Any) -> Any:
    """Without what only confuses a person in an editor.

    Titles that are the key in capitals go (a property called ``title`` is a map and stays), and so does "or null":
    leaving a key out says the same, and a message about one alternative can be understood.
    """
    if isinstance(schema, list):
        return [_tidy(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    tidy = {key: _tidy(one) for key, one in schema.items() if not (key == "title" and isinstance(one, str))}
    options = tidy.get("anyOf")
    if isinstance(options, list) and {"type": "null"} in options:
        rest = [option for option in options if option != {"type": "null"}]
        if tidy.get("default", 0) is None:
            del tidy["default"]
        if len(rest) == 1:
            del tidy["anyOf"]
            return {**rest[0], **tidy}
        tidy["anyOf"] = rest
    return tidy
