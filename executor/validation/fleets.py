"""Where actions run: one device, several, or any that can."""

import re
from collections.abc import Mapping
from typing import Any

from executor.documents.places import Path
from executor.expressions import near
from executor.model.fan_out import action_of, device_of
from executor.model.strategy import CAPABILITY, LABEL
from executor.validation.written import Report, Written, WrittenAction

_EXAMPLE = "such as gpu, or zone=eu for a label"


def check_fleets(written: Written, report: Report) -> None:
    """Check `device`, `devices`, `max_unavailable` and `capabilities`, and what names an instance."""
    _check_places(written.defaults, ("defaults",), report)
    for action in written.actions:
        _check_places(action.own, action.path, report)
        if action.own.get("max_unavailable") is not None and action.get("devices") is None:
            path = (*action.path, "max_unavailable")
            report.error(path, "`max_unavailable` goes with `devices`", "write `devices`, or leave it out")
    _check_instances(written, report)


def _check_places(fields: Mapping[str, Any], path: Path, report: Report) -> None:
    devices = fields.get("devices")
    if devices is not None and fields.get("device") is not None:
        remedy = "keep `device` for one device, or `devices` for several"
        report.error((*path, "devices"), "`device` and `devices` exclude each other", remedy)
    if isinstance(devices, list):
        if not devices:
            report.error((*path, "devices"), "there is no device", "name one, write `all`, or leave `devices` out")
        _refuse_doubles(devices, (*path, "devices"), report)
    elif isinstance(devices, dict) and isinstance(devices.get("labels"), dict):
        _check_labels(devices["labels"], (*path, "devices", "labels"), report)
    _check_share(fields.get("max_unavailable"), (*path, "max_unavailable"), report)
    _check_capabilities(fields.get("capabilities"), (*path, "capabilities"), report)


def _refuse_doubles(names: list[Any], path: Path, report: Report) -> None:
    for index, name in enumerate(names):
        if isinstance(name, str) and name in names[:index]:
            report.error((*path, index), f"{name!r} stands there twice", "name it once")


def _check_labels(labels: Mapping[Any, Any], path: Path, report: Report) -> None:
    if not labels:
        report.error(path, "there is no label", "write one, such as {zone: eu}, or `devices: all`")
    for name, value in labels.items():
        for part in (name, value):
            if isinstance(part, str) and not re.fullmatch(LABEL, part):
                message = f"{part!r} is no {'label' if part is name else 'value of a label'}"
                report.error((*path, name), message, "use letters, digits and . _ / -, at most 63, beginning with none")


def _check_share(value: Any, path: Path, report: Report) -> None:
    found = re.fullmatch(r"(\d{1,3})%", value) if isinstance(value, str) else None
    if found and not 1 <= int(found[1]) <= 100:
        message = f"{value} of the devices is {'none' if int(found[1]) == 0 else 'more than all'}"
        report.error(path, message, "write 1% to 100%, or a count")


def _check_capabilities(value: Any, path: Path, report: Report) -> None:
    if not isinstance(value, list):
        return
    _refuse_doubles(value, path, report)
    for index, name in enumerate(value):
        if isinstance(name, str) and not re.fullmatch(f"{CAPABILITY}|{LABEL}={LABEL}", name):
            report.error((*path, index), f"{name!r} is no capability", f"write a name without spaces, {_EXAMPLE}")


def _check_instances(written: Written, report: Report) -> None:
    """What ``rollback.actions`` names: an action, or one of its instances (``restart@edge-1``)."""
    rollback = written.data.get("rollback")
    named = rollback.get("actions") if isinstance(rollback, dict) else None
    for index, name in enumerate(named if isinstance(named, list) else []):
        if not isinstance(name, str):
            continue
        path, action = ("rollback", "actions", index), written.by_id.get(action_of(name))
        if action is None:
            report.error(path, f"there is no action {action_of(name)!r}", near(action_of(name), written.by_id))
        elif device_of(name):
            _check_instance(name, action, path, report)


def _check_instance(name: str, action: WrittenAction, path: Path, report: Report) -> None:
    devices = action.get("devices")
    if devices is None:
        report.error(path, f"{action.id!r} runs on one device, so there is no {name!r}", f"write {action.id}")
    elif isinstance(devices, list) and device_of(name) not in devices:
        remedy = near(device_of(name), map(str, devices)) or f"it runs on {', '.join(map(str, devices))}"
        report.error(path, f"{action.id!r} does not run on {device_of(name)!r}", remedy)
