"""`rex doctor`: a look at everything that a cluster needs, each finding with what to do."""

import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from executor.cli.connecting import find_cluster, settings
from executor.cli.doctor_broker import look_at_broker, look_at_way
from executor.cli.findings import NO_ANSWER, Finding
from executor.cli.output import say, say_json, say_table
from executor.cli.statuses import FAILED, UNREACHABLE
from executor.model.durations import format_duration
from executor.model.errors import Unreachable

if TYPE_CHECKING:
    from config.settings import Settings
    from executor.ledger.valkey import ValkeyLedger

_LEAST_SERVER = 7
_SKEW_MS = 1000


def doctor(*, as_json: bool, config: Path | None) -> int:
    """Look at everything; returns the exit status."""
    from config.settings import effective

    known = settings(config)
    findings = list(_findings(known))
    statuses = {finding.status for finding in findings}
    if as_json:
        told = [{"name": one.name, "value": _shown(one.value), "source": one.source} for one in effective(known)]
        healthy = not statuses & {"error", NO_ANSWER}
        say_json({"healthy": healthy, "findings": [asdict(one) for one in findings], "settings": told})
    else:
        say_table(("check", "", "found"), [(one.check, one.status, one.found) for one in findings])
        for one in findings:
            if one.remedy:
                say(f"{one.check}: {one.remedy}")
        say()
        say_table(("setting", "value", "from"), [(one.name, _shown(one.value), one.source) for one in effective(known)])
    if NO_ANSWER in statuses:
        return UNREACHABLE
    return FAILED if "error" in statuses else 0


def _shown(value: object) -> str:
    """A setting as it would be written."""
    return format_duration(value) if isinstance(value, timedelta) else str(value)


def _findings(known: "Settings") -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} at {sys.executable}")
    yield from _look_at_runs(known.state_dir)
    cluster = find_cluster(known)
    if cluster is None:
        yield Finding("cluster", "ok", "none is configured and none runs here: `rex run` starts its own")
        return
    from executor.ledger.valkey import ValkeyLedger

    ledger = ValkeyLedger(cluster.ledger_url, name="rex:doctor", patience_s=1.0)
    try:
        yield from _look_at_server(ledger)
        yield from look_at_way("ledger", cluster.ledger_url)
        yield from look_at_broker(cluster, {queue for worker in ledger.workers().values() for queue in worker.queues})
        yield from _look_at_clock(ledger)
        yield from _look_at_workers(ledger)
    except Unreachable as error:
        yield Finding("ledger", NO_ANSWER, str(error), "start the server, or correct REX_BROKER_URL / REX_LEDGER_URL")
    finally:
        ledger.close()


def _look_at_runs(state_dir: Path) -> Iterator[Finding]:
    kept = sorted(path.parent for path in state_dir.glob("runs/*/keep"))
    if kept:
        listed = ", ".join(str(path) for path in kept)
        remedy = "`REX_STATE_DIR=DIRECTORY rex up --device ID` goes on with it; remove it when it is needed no more"
        yield Finding("earlier runs", "warning", f"unfinished, or with something left for a person: {listed}", remedy)


def _look_at_server(ledger: "ValkeyLedger") -> Iterator[Finding]:
    info = ledger.server()
    kind, version = ("Valkey", info["valkey_version"]) if "valkey_version" in info else ("Redis", info["redis_version"])
    new_enough = kind == "Valkey" or int(str(version).split(".")[0]) >= _LEAST_SERVER
    remedy = "" if new_enough else "use Valkey, or Redis >= 7"
    yield Finding("server", "ok" if new_enough else "error", f"{kind} {version}", remedy)
    durable = str(info.get("aof_enabled")) == "1"
    remedy = "" if durable else "set `appendonly yes`: without it a crash of the server loses executions"
    yield Finding("append-only file", "ok" if durable else "error", "on" if durable else "off", remedy)
    if durable and info.get("aof_last_write_status", "ok") != "ok":
        yield Finding("append-only file", "error", "the last write failed", "look for a full or broken disk")
    policy = str(info.get("maxmemory_policy", "unknown"))
    safe = policy == "noeviction"
    remedy = "" if safe else "set `maxmemory-policy noeviction`: any other one throws executions away"
    yield Finding("maxmemory-policy", "ok" if safe else "error", policy, remedy)


def _look_at_clock(ledger: "ValkeyLedger") -> Iterator[Finding]:
    before = time.time()
    server_ms = ledger.now_ms()
    skew_ms = server_ms - (before + time.time()) / 2 * 1000
    small = abs(skew_ms) < _SKEW_MS
    remedy = "" if small else "let NTP set the clocks: times in reports come from the server"
    yield Finding("clock", "ok" if small else "warning", f"the server's is {skew_ms:+.0f} ms from ours", remedy)


def _look_at_workers(ledger: "ValkeyLedger") -> Iterator[Finding]:
    serving: dict[str, int] = {}
    for worker in ledger.workers().values():
        for queue in worker.queues:
            serving[queue] = serving.get(queue, 0) + 1
    coordinators = serving.pop("control", 0)
    remedy = "" if coordinators else "nothing begins or advances without one: start `rex coordinator`"
    yield Finding("coordinators", "ok" if coordinators else "warning", str(coordinators), remedy)
    listed = ", ".join(f"{queue}: {count}" for queue, count in sorted(serving.items())) or "none"
    remedy = "" if serving else "no action can run: start `rex worker --device edge-1`"
    yield Finding("workers", "ok" if serving else "warning", listed, remedy)
