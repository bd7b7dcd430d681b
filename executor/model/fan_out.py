"""A fan-out: one action that runs on several devices, as an instance on each, called ``ID@DEVICE``."""

from collections.abc import Iterable, Mapping
from typing import Any

_AT = "@"
_WORST_FIRST = ("failed", "timed_out", "cancelled", "running", "waiting", "ready", "pending", "succeeded")
"""What the whole is, of its instances. Only where all were skipped it is skipped: a ``when`` that leaves some devices
out takes nothing from what the others did."""


def instance_id(action: str, device: str) -> str:
    """The id of an action's instance on a device."""
    return f"{action}{_AT}{device}"


def action_of(step: str) -> str:
    """The action that a step belongs to: of an instance its fan-out, of every other step itself."""
    return step.partition(_AT)[0]


def device_of(step: str) -> str:
    """The device that an instance, or a step that takes it back, is named for; empty where it is none."""
    return step.partition(_AT)[2].partition("/")[0]


def fan_outs(steps: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The instances of each fan-out among `steps`, in their order."""
    found: dict[str, list[str]] = {}
    for name in steps:
        if _AT in name:
            found.setdefault(action_of(name), []).append(name)
    return {name: tuple(instances) for name, instances in found.items()}


def expanded(names: Iterable[str], known: Mapping[str, tuple[str, ...]]) -> list[str]:
    """`names` with each fan-out replaced by its instances, each once."""
    return list(dict.fromkeys(step for name in names for step in known.get(name, (name,))))


def joined(instances: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A fan-out as expressions see it.

    Args:
        instances: by device, each as expressions see an action.

    Returns:
        ``status`` the worst, ``result`` a map of device to result, ``error`` the first there is, ``attempts`` the most.
    """
    became = {one["status"] for one in instances.values()}
    return {
        "status": next((status for status in _WORST_FIRST if status in became), "skipped"),
        "result": {device: one["result"] for device, one in instances.items()},
        "error": next((one["error"] for one in instances.values() if one["error"] is not None), None),
        "device": None,
        "attempts": max((one["attempts"] for one in instances.values()), default=0),
    }
