"""`rex devices`, `rex drain`."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from executor.cli.connecting import connect
from executor.cli.output import note, on_terminal, say, say_json, say_table
from executor.cli.statuses import STILL_RUNS

if TYPE_CHECKING:
    from executor.client import ResolutionClient
    from executor.ports import Queues

Json = dict[str, Any]

_HEADS = ("device", "state", "why", "agent", "labels", "load", "running", "queued", "last seen", "workers")
_NOBODY = "no device is known: start a worker with `rex worker --device edge-1`"
_LOOK_S = 0.2
_TURN_S = 0.05


def devices(*, once: bool, as_json: bool, config: Path | None) -> int:
    """Show every device: as a table that goes on on a terminal, else once."""
    cluster = connect(config)
    queues = cluster.queues()
    with cluster.client() as client:
        if as_json:
            say_json(client.devices(queues))
        elif once or not on_terminal():
            found = client.devices(queues)
            if found:
                say_table(_HEADS, map(_row, found))
            else:
                say(_NOBODY)
        else:
            _show_on_and_on(client, queues, cluster.interval_s)
    return 0


def drain(device: str, *, undo: bool, reason: str, wait_s: float | None, as_json: bool, config: Path | None) -> int:
    """Give a device nothing new, or work again; returns the exit status."""
    with connect(config).client() as client:
        if undo:
            sent = client.undrain(device)
            if as_json:
                say_json({"device": device, "drained": False, "changed": sent is not None, "sent": sent or 0})
            elif sent is None:
                say(f"{device} is not drained")
            else:
                say(f"{device} is given work again" + (f"; {sent} waiting for it went out" if sent else ""))
            return 0
        changed = client.drain(device, reason=reason)
        if not as_json:
            say(f"{device} is given nothing new" + ("" if changed else ", as before"))
        running = _running_on(client, device) if wait_s is None else _wait_for_the_end(client, device, wait_s)
    if as_json:
        say_json({"device": device, "drained": True, "changed": changed, "running": running})
    elif wait_s is None:
        say(f"{_actions(running)} still {'runs' if running == 1 else 'run'} there" if running else "nothing runs there")
    else:
        say(
            "nothing runs there any more"
            if not running
            else f"{_actions(running)} still at work when the wait was over"
        )
    return STILL_RUNS if wait_s is not None and running else 0


def _wait_for_the_end(client: "ResolutionClient", device: str, wait_s: float) -> int:
    until, told = time.monotonic() + wait_s, 0
    while (running := _running_on(client, device)) and time.monotonic() < until:
        if running != told:
            note(f"{device}: {_actions(running)} at work")
            told = running
        time.sleep(_LOOK_S)
    return running


def _running_on(client: "ResolutionClient", device: str) -> int:
    """What is at work there, or will be again: an action waits for its next attempt without a worker."""
    running = next((int(one["running"]) for one in client.devices() if one["device"] == device), 0)
    return running + client.between_attempts(device)


def _actions(number: int) -> str:
    return f"{number} action{'s' * (number != 1)}"


def _show_on_and_on(client: "ResolutionClient", queues: "Queues | None", interval_s: float) -> None:
    from rich.console import Console
    from rich.live import Live

    from executor.cli.following import Interrupts

    interrupts = Interrupts()
    with interrupts.counting(), Live(console=Console(), auto_refresh=False) as live:
        while not interrupts.count:
            live.update(_table(client.devices(queues)), refresh=True)
            until = time.monotonic() + interval_s
            while not interrupts.count and time.monotonic() < until:
                time.sleep(_TURN_S)


def _table(found: Iterable[Json]) -> Any:
    from rich.table import Table
    from rich.text import Text

    from executor.cli.output import harmless

    colours = {"healthy": "green", "degraded": "yellow", "unhealthy": "red", "unknown": "dim"}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in _HEADS:
        table.add_column(head, overflow="fold")
    for one in found:
        table.add_row(
            *(
                Text(harmless(str(cell)), style=colours[one["state"]] if head == "state" else "")
                for head, cell in zip(_HEADS, _row(one), strict=True)
            )
        )
    return table if table.row_count else Text(_NOBODY)


def _row(one: Json) -> tuple[object, ...]:
    drained = one["drained"]
    why = list(one["reasons"])
    if drained is not None:
        by = f" by {drained['by']}" if drained["by"] else ""
        why.insert(0, f"drained{by}" + (f": {drained['reason']}" if drained["reason"] else ""))
    cpu = "" if one["cpu_percent"] is None else f", cpu {one['cpu_percent']:.0f} %"
    places = ", ".join(one["hosts"])
    return (
        one["device"],
        one["state"],
        "; ".join(why),
        one["agent"] or "",
        ", ".join(f"{name}={value}" for name, value in sorted(one["labels"].items())),
        f"{one['running']}/{one['concurrency']}{cpu}",
        one["running"],
        "?" if one["queued"] is None else one["queued"],
        "never" if one["silent_s"] is None else f"{_length(one['silent_s'])} ago",
        f"{len(one['workers'])} on {places}" if one["workers"] else f"none; last on {places}" if places else "none",
    )


def _length(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"
