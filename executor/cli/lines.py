"""Events as lines: ``10:00:00.123 configure started on edge-1 (attempt 1)``."""

from datetime import UTC, datetime
from typing import Any

from executor.cli.progress import reason_of, undone_action

_QUIET = frozenset({"execution:submitted", "execution:stage:started"})
_STOPS = {"rollback": "stopping, to take back what was done", "stop": "stopping, without taking anything back"}


def line_of(event: dict[str, Any]) -> str | None:
    """The line of an event; None where it says nothing to a person."""
    if event["event"] in _QUIET:
        return None
    moment = datetime.fromtimestamp(event["timestamp"] / 1000, tz=UTC).astimezone()
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d} {_said(event['event'], event['data'])}"


def _said(name: str, data: dict[str, Any]) -> str:
    if name in _TOLD:
        return _TOLD[name](data)
    subject, *rest = name.split(":")
    reason = _cause(data) if rest[0] != "action" else reason_of(data)
    because = f": {_one_line(reason)}" if reason else ""
    if rest[0] == "action":
        return _action(subject, rest[1], data, because)
    if subject == "rollback":
        status = f" ({data['status']})" if "status" in data else ""
        return f"rollback {rest[0]}{status}{because}"
    if rest[0] == "stopping":
        return f"execution {_STOPS.get(data['mode'], 'stopping')}{because}"
    if reason.startswith(rest[0]):  # "cancelled: Ctrl-C"
        return f"execution {_one_line(reason)}"
    return f"execution {rest[0]}{because}"


def _on_devices(data: dict[str, Any]) -> str:
    listed = data.get("devices", ())  # what is too large for the common stream is left out there
    return _one_line(f"execution on {len(listed)} devices: {', '.join(listed)}")


def _fared(data: dict[str, Any]) -> str:
    fared = (
        f"{device} " + ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in sorted(counts.items()))
        for device, counts in sorted(data.get("results", {}).items())
    )
    return _one_line(f"execution on its devices: {'; '.join(fared)}")


def _waiting(data: dict[str, Any]) -> str:
    return (
        f"rollback waits for a person's choice, at most {data['wait_ms'] / 1000:g} s, about "
        f"{', '.join(data.get('offer', {}).get('actions', ()))}"
    )


def _chosen(data: dict[str, Any]) -> str:
    return f"rollback chosen by {data['by']}: {', '.join(f'{name}={wish}' for name, wish in data['choices'].items())}"


def _planned(data: dict[str, Any]) -> str:
    chosen = data.get("chosen", {})  # what is too large for the common stream is left out there
    why = f": {'; '.join(chosen['reasons'])}" if chosen.get("reasons") else ""
    return f"rollback by {chosen.get('mechanism', 'its plan')}, {data.get('steps', 0)} steps{_one_line(why)}"


_TOLD = {
    "rollback:waiting": _waiting,
    "rollback:chosen": _chosen,
    "rollback:planned": _planned,
    "distributed:execution:started": _on_devices,
    "distributed:execution:completed": _fared,
}


def _cause(data: dict[str, Any]) -> str:
    """Why an execution ends; what an action failed of has been said when it failed."""
    for told in (data.get("error"), data.get("reason")):
        if isinstance(told, dict) and told.get("action"):
            return f"{told['action']} failed"
    return reason_of(data)


def _action(subject: str, what: str, data: dict[str, Any], because: str) -> str:
    name = data["action"]
    if subject == "rollback":
        kind = name.partition("/")[0] if "/" in name else ""
        named = {"verify": f"rollback.{name}", "snapshot": f"restoring {name}"}
        name = named.get(kind, f"rollback of {undone_action(name)}")
    if what == "started":
        again = ", asking whether it was done" if data.get("mode") == "probe" else ""
        return f"{name} started on {data['device']} (attempt {data['attempt']}{again})"
    if what == "retrying":
        return f"{name} failed{because}; again in {data['delay_ms'] / 1000:g} s"
    if what == "progress":
        return f"{name} {data['fraction']:.0%} {data['message']}".rstrip()
    word = "timed out" if data.get("status") == "timed_out" else what
    return f"{name} {word}{because}"


def _one_line(text: str) -> str:
    shown = " | ".join(part.strip() for part in text.splitlines() if part.strip())
    return shown if len(shown) <= 500 else shown[:497] + "..."
