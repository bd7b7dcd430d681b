"""`rex devices`."""

from pathlib import Path
from typing import Any

from executor.cli.connecting import connect
from executor.cli.output import say, say_json, say_table


def devices(*, as_json: bool, config: Path | None) -> int:
    """Show every device with the workers that serve it."""
    with connect(config).client() as client:
        found = client.devices()
    listed = by_device(found)
    if as_json:
        say_json(listed)
    elif listed:
        rows = [
            (
                one["device"],
                one["agent"] or "",
                len(one["workers"]),
                one["busy"],
                one["concurrency"],
                ", ".join(one["hosts"]),
            )
            for one in listed
        ]
        say_table(("device", "agent", "workers", "busy", "room", "hosts"), rows)
    else:
        say("no device is served: start a worker with `rex worker --device edge-1`")
    return 0


def by_device(workers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry for each device that is served."""
    found: dict[str, dict[str, Any]] = {}
    for worker in workers:
        for device in worker["devices"]:
            one = found.setdefault(
                device,
                {
                    "device": device,
                    "agent": None,
                    "busy": 0,
                    "concurrency": 0,
                    "hosts": [],
                    "workers": [],
                    "actions": [],
                },
            )
            one["agent"] = worker.get("agents", {}).get(device) or one["agent"]
            one["busy"] += worker["busy"]
            one["concurrency"] += worker["concurrency"]
            one["hosts"] = sorted({*one["hosts"], worker["host"]})
            one["actions"] = sorted({*one["actions"], *worker["actions"]})
            one["workers"].append({"incarnation": worker["incarnation"], "host": worker["host"], "pid": worker["pid"]})
    return [found[name] for name in sorted(found)]
