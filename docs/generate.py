"""Writes docs/reference, and the table of states in the explanation of the ledger, from the code.

python docs/generate.py            write
python docs/generate.py --check    write nothing; status 1 where something is not current
"""

import difflib
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import strategy_reference
from pydantic.fields import FieldInfo
from strategy_reference import kind, table

from config.settings import Settings, available, named_fields
from config.sources import SYSTEM_FILE
from executor.action import ActionType
from executor.catalogue import InstalledCatalogue
from executor.model.durations import format_duration
from executor.model.event import ENVELOPE, EVENTS
from executor.model.execution import NEXT, TERMINAL
from executor.schema import json_schema

DOCS = Path(__file__).resolve().parent
NOTE = "<!-- Written by docs/generate.py from the code. -->\n\n"
BEGIN, END = "<!-- states: written by docs/generate.py -->\n", "<!-- end of states -->\n"
OURS = "workers."


def pages() -> dict[str, str]:
    """Every generated file, by its path below docs/."""
    return {
        "reference/strategy.md": NOTE + strategy_reference.page(),
        "reference/cli.md": NOTE + _cli(),
        "reference/settings.md": NOTE + _settings(),
        "reference/events.md": NOTE + _events(),
        "reference/actions.md": NOTE + _actions(),
        "explanation/ledger.md": _with_states((DOCS / "explanation/ledger.md").read_text(encoding="utf-8")),
    }


def _cli() -> str:
    from typer.main import get_command
    from typer.testing import CliRunner

    from executor.cli.app import app

    def told(*arguments: str) -> str:
        wide = {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"}
        text = CliRunner().invoke(app, [*arguments, "--help"], env=wide, prog_name="rex").output
        return "```\n" + "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n```\n"

    parts = ["# The command `rex`\n", told()]
    for name in get_command(app).commands:  # type: ignore[attr-defined]
        parts += [f"## rex {name}\n", told(name)]
    parts.append("Errors go to standard error, data to standard output; with `--json` it is JSON and nothing else.\n")
    return "\n".join(parts)


def _template(name: str) -> str:
    return (DOCS / "templates" / f"{name}.md").read_text(encoding="utf-8")


def _settings() -> str:
    parts = [_template("settings").replace("SYSTEM_FILE", str(SYSTEM_FILE))]
    groups: dict[str, list[tuple[str, FieldInfo]]] = {}
    for name, field in named_fields():
        groups.setdefault(name.partition(".")[0] if "." in name else "", []).append((name, field))
    for group, fields in groups.items():
        about = (Settings.model_fields[group].annotation.__doc__ or "").strip() if group else ""
        title = f"## {group}\n\n{about}" if group else "## Addresses"
        ready = [(name, field) for name, field in fields if available(field)]
        later = [name for name, field in fields if not available(field)]
        if ready:
            rows = ((f"`{name}`", _value(name, field), field.description or "") for name, field in ready)
            title += "\n\n" + table(("setting", "default", "meaning"), rows)
        if later:
            title += "\n\nNot available yet, and refused: " + ", ".join(f"`{name}`" for name in later) + "."
        parts.append(title + "\n")
    return "\n".join(parts)


def _value(name: str, field: FieldInfo) -> str:
    if name == "state_dir":
        return "`~/.local/state/rex`"
    value = field.default
    if isinstance(value, timedelta):
        return f"`{format_duration(value)}`"
    return "" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _events() -> str:
    envelope = table(("field", "meaning"), ((f"`{name}`", meaning) for name, meaning in ENVELOPE.items()))
    parts = [_template("events"), envelope + "\n"]
    for event in EVENTS:
        rows = (
            (f"`{name.rstrip('?')}`{' *' if name.endswith('?') else ''}", text) for name, text in event.data.items()
        )
        parts.append(f"## `{event.name}`\n\n{event.meaning}\n\n{table(('data', 'meaning'), rows)}\n")
    parts.append("Fields with a star are not always there.\n")
    return "\n".join(parts)


def _actions() -> str:
    catalogue = InstalledCatalogue()
    own = [found for name in catalogue.names() if type(found := catalogue.get(name)).__module__.startswith(OURS)]
    schema = json_schema(catalogue)["$defs"]
    parts = [_template("actions")]
    return "\n".join([*parts, *(_action(found, schema) for found in own)])


def _action(found: ActionType, definitions: dict[str, Any]) -> str:
    parts = [f"## {found.uses}\n", (type(found).__doc__ or "").replace("\n    ", "\n").strip() + "\n"]
    parameters = definitions[f"with.{found.uses}"]
    parts.append(_fields(parameters, "with") if parameters.get("properties") else "No parameters.\n")
    for name in sorted(definitions):
        inner = definitions[name]
        if name.startswith(f"with.{found.uses}.") and inner.get("properties"):
            parts += [f"`{name.rpartition('.')[2].lower()}`: {inner.get('description', '')}\n", _fields(inner, "key")]
    results = found.Results.model_json_schema() if found.Results else {}
    if results.get("properties"):
        parts.append(_fields(results, "result", defaults=False))
    if found.idempotent:
        parts.append("It may run again when nobody knows whether it ran.\n")
    return "\n".join(parts)


def _fields(schema: dict[str, Any], head: str, *, defaults: bool = True) -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for name, spec in schema["properties"].items():
            required = name in schema.get("required", ())
            default = spec.get("default")
            shown = "required" if required else "" if default in (None, "", [], {}) else f"`{_plain(default)}`"
            row = (f"`{name}`", kind(spec), shown, (spec.get("description") or "").strip())
            yield row if defaults else (row[0], row[1], row[3])

    heads = (head, "type", "default", "meaning") if defaults else (head, "type", "meaning")
    return table(heads, rows()) + "\n"


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _with_states(text: str) -> str:
    """The page with the diagram between its marks drawn anew."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> pending"]
    for state, following in NEXT.items():
        lines += [f"    {state} --> {after}" for after in sorted(following)]
    lines += [f"    {state} --> [*]" for state in NEXT if state in TERMINAL and _is_reached(state)]
    before, _, rest = text.partition(BEGIN)
    _, _, after_it = rest.partition(END)
    return before + BEGIN + "\n".join([*lines, "```"]) + "\n" + END + after_it


def _is_reached(state: Any) -> bool:
    return any(state in following for following in NEXT.values())


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = 0
    for name, text in pages().items():
        path = DOCS / name
        wanted = text.rstrip() + "\n"
        found = path.read_text(encoding="utf-8") if path.exists() else ""
        if found == wanted:
            continue
        stale += 1
        if check:
            old, new = found.splitlines(), wanted.splitlines()
            difference = list(difflib.unified_diff(old, new, f"docs/{name}", "code", lineterm=""))
            sys.stderr.write("\n".join(difference[:40]) + "\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted, encoding="utf-8")
    if check and stale:
        sys.stderr.write(f"{stale} pages are not what the code says: run `python docs/generate.py`\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
