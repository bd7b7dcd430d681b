"""What ``snapshot`` and ``rollback`` say together with the rest of the strategy."""

from collections.abc import Mapping, Sequence
from typing import Any

from executor.action import WayBack
from executor.expressions import reads_of
from executor.model.errors import ExpressionError
from executor.model.fan_out import action_of, device_of, instance_id
from executor.snapshot import SnapshotType
from executor.validation.calls import Types
from executor.validation.written import Report, Written, WrittenAction


def check_taking_back(written: Written, types: Types, report: Report) -> None:
    """Check the mechanism with what it needs, and that nothing that is kept needs what is taken back."""
    _check_entries(written, types, report)
    found = written.data.get("rollback")
    rollback: Mapping[str, Any] = found if isinstance(found, dict) else {}
    mechanism, named = rollback.get("mechanism") or "adaptive", rollback.get("actions")
    if mechanism == "snapshot" and not written.data.get("snapshot"):
        remedy = "list under `snapshot` what is to be saved before the first action"
        report.error(("rollback", "mechanism"), "there is no snapshot to take the execution back by", remedy)
    if mechanism == "phased" and not rollback.get("verify"):
        message = "`phased` stops where a probe does not hold, and there is none"
        report.warning(("rollback", "mechanism"), message, "write `rollback.verify`, or another mechanism")
    if mechanism == "partial" and not named:
        report.error(("rollback", "mechanism"), "`partial` takes back named actions", "name them in `rollback.actions`")
    if not isinstance(named, list) or not named:
        return
    if mechanism not in ("partial", "adaptive"):
        remedy = "write `mechanism: partial`, or leave `actions` out"
        report.error(("rollback", "actions"), f"`actions` does not go with `mechanism: {mechanism}`", remedy)
    for kept, needed in _kept_needs(written, [name for name in named if isinstance(name, str)], types):
        message = f"{kept!r} is kept, and needs {needed!r}, which is taken back"
        report.error(("rollback", "actions"), message, f"name {kept!r} too, or leave {needed!r} out")


def _check_entries(written: Written, types: Types, report: Report) -> None:
    entries = written.data.get("snapshot")
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        uses = entry.get("uses") if isinstance(entry, dict) else None
        kind = types.get(uses) if isinstance(uses, str) else None
        if kind is not None and not isinstance(kind, SnapshotType):
            remedy = "use a type that saves, such as snapshot.files"
            report.error(("snapshot", index, "uses"), f"{uses} takes no snapshot", remedy)


def _kept_needs(written: Written, named: Sequence[str], types: Types) -> list[tuple[str, str]]:
    """Pairs of an action that is kept and one that it needs, or is made of, which is taken back."""
    whole = {name for name in named if not device_of(name)}
    some: dict[str, set[str]] = {}
    for name in named:
        some.setdefault(action_of(name), set()).add(device_of(name))
    pairs = []
    for name, action in written.by_id.items():
        if name in whole:
            continue
        needs = _needs(action) | (_reads(action) if _changes(action, types) else set())
        pairs += [(name, needed) for needed in written.by_id if needed in needs & whole]
        for needed in written.by_id:
            if needed in needs & (some.keys() - whole):
                kept = _kept_instances(action, some[needed] - some.get(name, set()))
                pairs += [(one, instance_id(needed, device)) for device, one in kept]
    return pairs


def _kept_instances(action: WrittenAction, devices: set[str]) -> list[tuple[str, str]]:
    """Which of an action depends on what is taken back on `devices`: of a fan-out its instance on the same device."""
    runs_on = action.get("devices")
    if runs_on is None:
        return [(device, str(action.id)) for device in sorted(devices)]
    there = [one for one in sorted(devices) if not isinstance(runs_on, list) or one in runs_on]
    return [(device, instance_id(str(action.id), device)) for device in there]


def _needs(action: WrittenAction) -> set[str]:
    listed = action.get("needs")
    found = [
        need.get("id") if isinstance(need, dict) else need for need in (listed if isinstance(listed, list) else [])
    ]
    return {need for need in found if isinstance(need, str)}


def _changes(action: WrittenAction, types: Types) -> bool:
    """Whether it leaves anything behind that could be made of what it reads."""
    uses, given = action.get("uses"), action.get("with")
    kind = types.get(uses) if isinstance(uses, str) else None
    try:
        return kind is None or kind.way_back(given if isinstance(given, dict) else {}) is not WayBack.NOTHING_CHANGED
    except Exception:  # noqa: BLE001 - foreign code; its defect is told where the call is checked
        return True


def _reads(action: WrittenAction) -> set[str]:
    given = action.get("with")
    try:
        return set(reads_of(given, ()).actions) if isinstance(given, dict) else set()
    except ExpressionError:  # said where expressions are checked
        return set()
