"""A drawn case as a strategy file, and the directory that it works on."""

import os
import shlex
from pathlib import Path
from typing import Any

import yaml

from support.property_cases import FILES, Act, Case, Fallback, Way

Json = dict[str, Any]
World = dict[str, tuple[str, bytes, int]]
"""Path to mode, bytes and time of each file, a directory's without time."""

_ATTEMPT = "${{ execution.attempt }}"
_PROBE = (
    "for name in $(sed -n 's/^undo \\([^ ]*\\) .*/\\1/p' log); do "
    "for mark in world/*/made-$name; do test ! -e $mark || exit 1; done; done"
)
"""Whether each compensation that says so has undone what it should."""


def lay_out(case: Case, root: Path) -> None:
    """The directory of a case: an empty effect log, and the files that its actions change."""
    (root / "world").mkdir(parents=True)
    (root / "log").touch()
    for device in ("d1", "d2", "d3"):
        (root / "world" / device).mkdir()
        _write(root / "world" / device / "shared", "first\n", 0o640)
        _write(root / "world" / device / "there", "was there\n", 0o600)
    for act in case.acts:
        if act.kind in ("edit", "delete"):
            path = root / "world" / act.device / case.target(act)
            if not path.exists():
                _write(path, f"before {act.name}\n", 0o755)


def _write(path: Path, text: str, mode: int) -> None:
    path.write_text(text)
    path.chmod(mode)
    os.utime(path, ns=(1_600_000_000_123_456_789, 1_600_000_000_987_654_321))


def world(root: Path) -> World:
    """Everything below ``world``."""
    found: World = {}
    top = root / "world"
    for path in sorted(top.rglob("*")):
        state = path.lstat()
        name = str(path.relative_to(top))
        found[name] = (oct(state.st_mode), path.read_bytes(), state.st_mtime_ns) if path.is_file() else (
            oct(state.st_mode), b"", 0)  # fmt: skip
    return found


def document(case: Case, root: Path, name: str = "drawn") -> Json:
    """The strategy file of a case that works in `root`."""
    made: Json = {
        "name": name, "model": case.model, "limits": {"parallel": case.parallel}, "defaults": {"timeout": "10s"},
    }  # fmt: skip
    if case.max_failures is not None:
        made["limits"]["max_failures"] = case.max_failures
    listed = [_action(case, act, root) for act in case.acts]
    if case.cuts:
        made["phases"] = list(_phases(case, listed))
    else:
        made["actions"] = listed
    if case.criterion is not None:
        made["success_criteria"] = ["true" if case.criterion else "false"]
    made["rollback"] = {"mechanism": case.mechanism}
    if case.named:
        made["rollback"]["actions"] = list(case.named)
    if case.verify:
        made["rollback"]["verify"] = [{"uses": "command", "device": "d2", "with": {"run": _PROBE, "cwd": str(root)}}]
    if case.snapshot:
        made["snapshot"] = [
            {"uses": "snapshot.files", "device": device, "with": {"paths": [str(root / "world" / device)]}}
            for device in case.snapshot
        ]
    return made


def _phases(case: Case, listed: list[Json]) -> list[Json]:
    at, phases = 0, []
    for number, size in enumerate(case.cuts):
        phase: Json = {"name": f"p{number}", "actions": listed[at : at + size]}
        if case.unmet_phase == number:
            phase["verify"] = "false"
        phases.append(phase)
        at += size
    return phases


def _action(case: Case, act: Act, root: Path) -> Json:
    made: Json = {"id": act.name, "device": act.device, **_call(case, act, root)}
    if act.attempts > 1:
        made["retry"] = {"max_attempts": act.attempts, "delay": "10ms"}
    else:
        made["retry"] = "none"
    if act.does == "hangs":
        made["timeout"] = "700ms"
    if act.on_failure != "rollback":
        made["on_failure"] = act.on_failure
    if act.when is not None:
        made["when"] = "false" if act.when is False else f"actions['{act.when}'].status == 'succeeded'"
    if act.needs:
        made["needs"] = list(act.needs)
    if act.idempotent and act.kind == "command":
        made["idempotent"] = True
    if act.unmet:
        made["success"] = "false"
    if act.fallback is not None:
        made["fallback"] = _fallback(act, act.fallback, root)
    return made


def _call(case: Case, act: Act, root: Path) -> Json:
    """`uses`, `with` and `compensate`."""
    if act.kind in FILES:
        made = {"uses": f"file.{act.kind}", "with": _change(case, act, root)}
    elif act.kind == "python":
        given = {"directory": str(root), "device": act.device, "name": act.name, "attempt": _ATTEMPT, "does": act.does}
        made = {"uses": "python", "with": {"call": "support.property_actions:effect", "args": given}}
    else:
        run = _forward(act.name, act.does, act.device, nap=act.nap)
        made = {"uses": "command", "with": {"run": run, "cwd": str(root)}}
    return made | _compensate(act.way, act.name, act.device, root)


def _change(case: Case, act: Act, root: Path) -> Json:
    path = str(root / "world" / act.device / case.target(act))
    if act.kind == "create":
        return {"path": path, "content": f"{act.name}\n"}
    if act.kind == "delete":
        return {"path": path + "-not" * (act.does == "fails")}
    if act.does == "fails":
        return {"path": path, "replace": {"pattern": "^never$", "with": "ever"}}
    return {"path": path, "append": f"{act.name}\n"}


def _line(word: str, name: str, device: str) -> str:
    return f"echo {word} {name} {_ATTEMPT} {device} $$ $(date +%s%N) >> log && sync log"


def _forward(name: str, does: str, device: str, *, nap: bool = False) -> str:
    """The command line of an effect: a line in the log, then a mark."""
    effect = f"{_line('do', name, device)} && echo {name} >> world/{device}/made-{name}"
    attempted = _line("try", name, device)
    if nap:
        effect += f" && sleep 0.3 && {_line('end', name, device)}"
    return {
        "works": effect,
        "fails": f"{attempted}; exit 1",
        "breaks": f"{effect}; exit 1",
        "flaky": f"if [ {_ATTEMPT} -eq 1 ]; then {attempted}; exit 1; fi; {effect}",
        "shaky": f"{effect}; [ {_ATTEMPT} -gt 1 ]",
        "hangs": f"{effect}; sleep 60",
    }[does]


def _back(name: str, does: str, device: str) -> str:
    """The command line of a compensation."""
    said = _line("undo", name, device)
    effect = f"{said} && rm -f world/{device}/made-{name}"
    attempted = _line("untry", name, device)
    return {
        "works": effect,
        "lies": said,
        "fails": f"{attempted}; exit 1",
        "hangs": f"{attempted}; sleep 60",
        "once": f"if [ {_ATTEMPT} -eq 1 ]; then {attempted}; exit 1; fi; {effect}",
        "later": f"grep -q ^go log || {{ {attempted}; exit 1; }}; {effect}",
    }[does]


def _compensate(way: Way, name: str, device: str, root: Path) -> Json:
    if way.rule in ("auto", "lacking"):
        return {}
    if way.rule == "none":
        return {"compensate": "none"}
    return {
        "compensate": {
            "uses": "command", "with": {"run": _back(name, way.does, device), "cwd": str(root)}, "after": way.rule,
            "timeout": "700ms" if way.does == "hangs" else "10s",
            "retry": {"max_attempts": 2, "delay": "10ms"} if way.does == "once" else "none",
        }
    }  # fmt: skip


def _fallback(act: Act, fallback: Fallback, root: Path) -> Json:
    name = f"{act.name}.fb"
    run = _forward(name, fallback.does, act.device)
    made: Json = {"uses": "command", "with": {"run": run, "cwd": str(root)}}
    return made | _compensate(fallback.way, name, act.device, root)


def as_yaml(case: Case, root: Path, name: str) -> str:
    """The strategy for a person, with what has to be there before."""
    files = sorted(world(root)) if root.exists() else []
    about = f"# works in {root}: an empty file `log`, and `world` with {', '.join(map(shlex.quote, files))}\n"
    return about + yaml.safe_dump(document(case, root, name), sort_keys=False, width=110)
