"""What a worker says of itself."""

import threading
import uuid
from pathlib import Path

import pytest

import executor
from executor.ledger.memory import MemoryLedger
from executor.model.device import PROTOCOL, Announcement, Vitals
from executor.model.errors import DeviceTaken, SettingsInvalid
from workers.announcing import STORE_ID, Gauge, Tally, announcement, join, store_id


def announced(tmp_path: Path, **environ: str) -> Announcement:
    return announcement(
        queues=["device.edge-1", "device.edge-2"], concurrency=4, actions=["wait", "command"], state_dir=tmp_path,
        environ=environ, incarnation="w1", now_ms=7,
    )  # fmt: skip


def test_a_worker_announces_what_it_is_and_has(tmp_path: Path) -> None:
    """Devices, labels, capabilities, agents, and what psutil measures; a protocol, and the version of the package."""
    told = announced(
        tmp_path,
        REX_LABELS="zone=north, rack=r1",
        REX_CAPABILITIES="gpu,cuda:12",
        REX_AGENTS="edge-2:coder,edge-9:tester",
    )
    assert (told.devices, told.agents) == (("edge-1", "edge-2"), {"edge-2": "coder"})
    assert (told.labels, told.capabilities) == ({"zone": "north", "rack": "r1"}, ("cuda:12", "gpu"))
    assert (told.actions, told.concurrency, told.since_ms) == (("command", "wait"), 4, 7)
    assert (told.protocol, told.version) == (PROTOCOL, executor.__version__)
    assert min(told.cpu_count, told.memory_bytes, told.disk_bytes, told.pid) > 0
    assert told.store == store_id(tmp_path)
    assert Announcement.model_validate_json(told.model_dump_json(exclude_defaults=True)) == told


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"REX_LABELS": "zone"}, "'zone' is no label: name=value"),
        ({"REX_LABELS": "zone=a b"}, "'zone=a b' is no label"),
        ({"REX_LABELS": "zone=a,zone=b"}, "'zone' is given twice, as 'a' and 'b'"),
        ({"REX_CAPABILITIES": "has a space"}, "'has a space' is no capability"),
    ],
)
def test_nonsense_is_refused_with_what_would_be_right(tmp_path: Path, environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsInvalid, match=message):
        announced(tmp_path, **environ)


def test_processes_that_start_at_once_agree_on_the_store(tmp_path: Path) -> None:
    """One id is made, whoever was first, and nothing else is left beside it."""
    found, gate = [], threading.Barrier(8)

    def ask() -> None:
        gate.wait()
        found.append(store_id(tmp_path / "deep" / "state"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert uuid.UUID(found[0])
    assert [path.name for path in (tmp_path / "deep" / "state").iterdir()] == [STORE_ID]


def test_a_store_id_that_is_none_is_refused_by_its_path(tmp_path: Path) -> None:
    (tmp_path / STORE_ID).write_text("what is this")
    with pytest.raises(SettingsInvalid, match=r"store-id should hold the id .* 'what is this'"):
        store_id(tmp_path)


def test_a_device_is_taken_while_its_holder_renews() -> None:
    """A holder that is heard again lives; that is found out within one of its renewals."""
    ledger = MemoryLedger()
    ledger.register("w1", Announcement(devices=("edge-1",), store="s1", host="host-a"))
    done = threading.Event()

    def live() -> None:
        while not done.wait(0.02):
            ledger.renew("w1", [])

    thread = threading.Thread(target=live)
    thread.start()
    try:
        with pytest.raises(DeviceTaken, match="'edge-1' is taken: worker w1 on host-a"):
            join(ledger, "w2", Announcement(devices=("edge-1",), store="s2"))
    finally:
        done.set()
        thread.join()


def test_a_holder_that_is_declared_dead_is_followed() -> None:
    """Its silence is waited for; then the device belongs to the new store, and that is told."""
    ledger = MemoryLedger()
    ledger.register("w1", Announcement(devices=("edge-1",), store="s1", host="host-a"))
    timer = threading.Timer(0.15, ledger.fence, ["w1"])
    timer.start()
    join(ledger, "w2", Announcement(devices=("edge-1",), store="s2", host="host-b"))
    timer.join()
    assert ledger.owners()["edge-1"].store == "s2"
    assert "distributed:device:replaced" in [event["event"] for event in ledger.fleet_events()]


def test_only_recent_attempts_count_for_the_rate() -> None:
    """The last twenty, of the last minutes: a device that got no work since is not held to what was long ago."""
    now = [0.0]
    tally = Tally(lambda: now[0])
    for number in range(30):
        tally.count(succeeded=number >= 15)
    assert (tally.succeeded, tally.failed, tally.recent()) == (15, 15, (20, 5))
    now[0] = 301.0
    assert tally.recent() == (0, 0)


def test_a_measurement_is_told_once(tmp_path: Path) -> None:
    """With the number by which a stale one is known, and with types that could not be loaded."""
    tally = Tally()
    gauge = Gauge(tmp_path / "not" / "there yet", tally)
    assert gauge.fresh(0.0) is None
    tally.count(succeeded=False)
    gauge.cannot_load("python", "ImportError: x")
    told = gauge.measure()
    assert (told.number, told.failed, told.recent, told.recent_failed) == (1, 1, 1, 1)
    assert told.broken == {"python": "ImportError: x"}
    assert 0 < told.memory_percent <= 100
    gauge._fresh = told
    assert gauge.fresh(0.0123) == told.model_copy(update={"answer_ms": 12.3})
    assert gauge.fresh(0.0) is None
    assert Vitals.model_validate_json(told.model_dump_json()) == told
