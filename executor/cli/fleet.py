"""`rex devices`."""

from pathlib import Path

from executor.cli.connecting import connect
from executor.cli.output import say, say_json, say_table


def devices(*, as_json: bool, config: Path | None) -> int:
    """Show every device with the workers that serve it."""
    with connect(config).client() as client:
        found = client.devices()
    if as_json:
        say_json(found)
    elif found:
        rows = [
            (
                one["device"],
                one["state"],
                one["agent"] or "",
                one["running"],
                one["concurrency"],
                ", ".join(one["hosts"]),
            )
            for one in found
        ]
        say_table(("device", "state", "agent", "running", "room", "hosts"), rows)
    else:
        say("no device is served: start a worker with `rex worker --device edge-1`")
    return 0
