"""`rex scale`: another number of worker processes for a device of the cluster that `rex up` runs here."""

import time
from pathlib import Path

from executor.cli.connecting import Cluster, settings
from executor.cli.output import note, say, say_json
from executor.cli.running import running_cluster
from executor.cli.scale_file import change_scale
from executor.cli.statuses import COMPLETED, STILL_RUNS, WRONG
from executor.client import ResolutionClient
from executor.model.errors import SettingsInvalid, Unreachable

_LOOK_S = 0.1
_START_S = 30.0
"""How long a worker may take to start, on a busy machine."""


def scale(device: str, number: int, *, as_json: bool, wait_s: float | None, config: Path | None) -> int:
    """Have `device` served by `number` processes, and wait until it is so.

    Raises:
        SettingsInvalid: the cluster is not one of this machine.
        Unreachable: none runs here.
    """
    found = settings(config)
    if found.broker_url is not None:
        raise SettingsInvalid(
            "`rex scale` is for a cluster that `rex up` runs on this machine, and broker_url is set. Start or end "
            f"workers where they run: `rex worker --device {device}`, `docker compose up --scale WORKER={number}`, "
            f"`kubectl scale deployment/WORKER --replicas={number}`; SIGTERM ends a worker in order"
        )
    told = running_cluster(found.state_dir)
    if told is None:
        raise Unreachable("no cluster runs here: start one with `rex up --device edge-1`")
    if refusal := _out_of_bounds(device, number, *told.get("bounds", (1, 1))):
        note(f"rex: {refusal}")
        return WRONG
    try:
        before = change_scale(found.state_dir, device, number)
    except ValueError as error:
        note(f"rex: {error}")
        return WRONG
    patience_s = found.distributed.grace.total_seconds() + _START_S if wait_s is None else wait_s
    with Cluster(told["broker_url"], told["broker_url"]).client(patience_s=10.0) as client:
        reached = _wait(client, found.state_dir, device, number, patience_s)
    if as_json:
        say_json({"device": device, "workers": number, "before": before, "reached": reached})
    elif reached:
        say(f"{device}: {number} worker process{'es' * (number != 1)} (before: {before})")
    else:
        say(f"{device}: not at {number} worker processes yet (before: {before}); `rex devices` shows how far it is")
    return COMPLETED if reached else STILL_RUNS


def _out_of_bounds(device: str, number: int, least: int, most: int) -> str:
    """Why a cluster that scales by itself would take the number back; empty: it would not. 0 it leaves alone."""
    if least >= most or number == 0 or least <= number <= most:
        return ""
    return (
        f"this cluster scales by itself: {device} can have {least} (distributed.scale_min) to {most} "
        f"(distributed.scale_max) worker processes, or 0, not {number}; start `rex up` with other bounds"
    )


def _wait(client: ResolutionClient, state_dir: Path, device: str, number: int, patience_s: float) -> bool:
    """Until as many workers of the device are registered, and those too many are gone; False: not in time."""
    until = time.monotonic() + patience_s
    while True:
        told = running_cluster(state_dir) or {}
        wanted = told.get("wanted", {}).get(device, 0)
        registered = sum(device in worker["devices"] for worker in client.workers())
        if wanted == number == registered:
            return True
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_S)
