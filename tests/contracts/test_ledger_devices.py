"""Who holds a device, what is thought of it, and what it is given."""

import json
import logging
from typing import Any

import pytest
from support.ledgers import AnyLedger, Tried, in_group

from executor.ledger.memory import MemoryLedger
from executor.model.device import Announcement, Depleted, Health, HealthState, Vitals
from executor.model.errors import DeviceTaken, IncompatibleVersion, UnknownDevice
from executor.model.execution import Claimed
from executor.model.state import Renewed

STRANGE = [
    "nonsense",
    "[]",
    "7",
    "null",
    '{"devices": "edge-1"}',
    '{"devices": ["a b"]}',
    '{"devices": [], "pid": -1}',
    "{",
]


def worker(*devices: str, store: str = "s1", host: str = "host-a", **more: Any) -> Announcement:
    return Announcement(devices=devices, store=store, host=host, **{"protocol": 2, **more})


def told(ledger: AnyLedger, *, but: str = "distributed:topology:changed") -> list[tuple[str, dict[str, Any]]]:
    return [(event["event"], event["data"]) for event in ledger.fleet_events() if event["event"] != but]


def write_raw(ledger: AnyLedger, name: str, field: str, text: str) -> None:
    """As a stranger would."""
    if isinstance(ledger, MemoryLedger):
        getattr(ledger._store, {"owner": "owners"}.get(name, name))[field] = text
    else:
        ledger._client.hset(ledger._key(name), field, text)


def test_a_device_of_a_living_worker_is_not_given_to_another_store(ledger: AnyLedger) -> None:
    """The answer says who has it; workers that share the store are welcome; nothing of the refused one is left."""
    ledger.register("w1", worker("edge-1"))
    with pytest.raises(DeviceTaken, match="'edge-1' is taken: worker w1 on host-a") as refused:
        ledger.register("w2", worker("edge-2", "edge-1", store="s2", host="host-b"))
    assert (refused.value.device, refused.value.host, refused.value.worker) == ("edge-1", "host-a", "w1")
    ledger.register("w3", worker("edge-1", host="host-c"))
    assert sorted(ledger.workers()) == ["w1", "w3"]
    assert sorted(ledger.owners()) == ["edge-1"]
    assert told(ledger) == []


@pytest.mark.parametrize("end", ["leave", "fence"])
def test_a_device_whose_worker_is_gone_may_be_taken_over_and_that_is_told(ledger: AnyLedger, end: str) -> None:
    """Also while another worker of the former store still leaves, it may not."""
    ledger.register("w1", worker("edge-1"))
    ledger.retreat("w1")
    with pytest.raises(DeviceTaken):
        ledger.register("w2", worker("edge-1", store="s2"))
    getattr(ledger, end)("w1")
    ledger.register("w2", worker("edge-1", store="s2", host="host-b"))
    former = {"store": "s1", "host": "host-a"}
    replaced = {"device": "edge-1", "host": "host-b", "store": "s2", "former": former}
    assert told(ledger)[-1] == ("distributed:device:replaced", replaced)
    assert ledger.owners()["edge-1"].store == "s2"


def test_a_worker_that_the_release_before_has_buried_keeps_no_device(ledger: AnyLedger) -> None:
    """That knew of no list of who serves a device; whoever still counts as living holds it."""
    ledger.register("w1", worker("edge-1", "edge-2"))
    ledger.register("w2", worker("edge-2"))
    buried_as_before(ledger, "w1")
    with pytest.raises(DeviceTaken, match="worker w2 on"):
        ledger.register("w3", worker("edge-2", store="s2"))
    ledger.register("w3", worker("edge-1", store="s2", host="host-b"))
    assert ledger.owners()["edge-1"].store == "s2"
    ledger.leave("w3")
    told_of = [event["data"] for event in ledger.fleet_events() if event["event"] == "distributed:topology:changed"]
    assert told_of[-2:] == [{"joined": ["edge-1"], "left": []}, {"joined": [], "left": ["edge-1"]}]


def buried_as_before(ledger: AnyLedger, incarnation: str) -> None:
    """What ``fence`` of the release before takes out."""
    if isinstance(ledger, MemoryLedger):
        for kept in (ledger._store.workers, ledger._store.renewals):
            kept.pop(incarnation)
    else:
        for name in ("workers", "W"):
            ledger._client.hdel(ledger._key(name), incarnation)


def test_the_release_before_says_no_store_and_is_left_alone(ledger: AnyLedger) -> None:
    """In a rolling restart both serve a device side by side."""
    ledger.register("w1", Announcement(devices=("edge-1",)))
    ledger.register("w2", worker("edge-1"))
    ledger.register("w3", Announcement(devices=("edge-1",)))
    assert ledger.owners()["edge-1"].store == "s1"


@pytest.mark.parametrize(("protocol", "welcome"), [(1, False), (2, True), (3, True), (4, True), (5, False)])
def test_a_cluster_takes_its_own_protocol_and_its_neighbours(ledger: AnyLedger, protocol: int, welcome: bool) -> None:
    """The coordinator that came last says what it speaks."""
    ledger.register("c1", Announcement(devices=(), protocol=3))
    if welcome:
        ledger.register("w1", worker("edge-1", protocol=protocol))
    else:
        with pytest.raises(IncompatibleVersion, match=f"protocol {protocol}.*speaks protocol 3: it takes 2 to 4"):
            ledger.register("w1", worker("edge-1", protocol=protocol))
        assert list(ledger.workers()) == ["c1"]


def test_a_first_device_and_a_last_worker_change_the_topology(ledger: AnyLedger) -> None:
    """A further worker of a device does not; a worker that died says so."""
    ledger.register("w1", worker("edge-1", "edge-2"))
    ledger.register("w2", worker("edge-2"))
    ledger.leave("w1")
    ledger.fence("w2")
    assert told(ledger, but="") == [
        ("distributed:topology:changed", {"joined": ["edge-1", "edge-2"], "left": []}),
        ("distributed:topology:changed", {"joined": [], "left": ["edge-1"]}),
        ("distributed:topology:changed", {"joined": [], "left": ["edge-2"]}),
        ("distributed:device:failed", {"device": "edge-2", "error": "its last worker, w2 on host-a, died"}),
    ]


def test_what_a_worker_tells_of_itself_goes_with_it(ledger: AnyLedger) -> None:
    """Vitals and the time at which it was heard; its device stays known, with the time at which it was left."""
    ledger.register("w1", worker("edge-1"))
    ledger.renew("w1", [], Vitals(cpu_percent=12.5, number=3))
    ledger.renew("w1", [])
    assert ledger.vitals() == {"w1": Vitals(cpu_percent=12.5, number=3)}
    assert abs(ledger.seen()["w1"] - ledger.now_ms()) < 5000
    ledger.leave("w1")
    assert (ledger.vitals(), ledger.seen()) == ({}, {})
    (left,) = ledger.devices()
    assert (left.device, left.state, left.reasons, left.store) == ("edge-1", "unknown", ("no worker",), "s1")
    assert left.seen_ms == ledger.owners()["edge-1"].left_ms > 0


def test_devices_are_told_with_all_that_is_known(ledger: AnyLedger) -> None:
    """Of a worker of two devices each action counts for its own."""
    ledger.register("w1", worker("edge-1", "edge-2", agents={"edge-1": "coder"}, labels={"zone": "n"}, concurrency=3))
    ledger.register("w2", worker("edge-2", capabilities=("gpu",), host="host-b"))
    Tried(ledger).start(in_group("a b")).claim("a")
    one, two = ledger.devices()
    assert one.reasons == ("nobody watches it: start `rex coordinator`",)
    ledger.lead("c1", 60)
    one, two = ledger.devices()
    assert (one.state, one.reasons) == ("unknown", ("not looked at yet",))
    assert (one.agent, one.labels, one.running, one.concurrency, one.queued) == ("coder", {"zone": "n"}, 1, 3, 0)
    assert (two.agent, two.running, two.concurrency, two.capabilities) == (None, 0, 4, ("gpu",))
    assert (two.hosts, [each.incarnation for each in two.workers]) == (("host-a", "host-b"), ["w1", "w2"])
    assert one.silent_s is not None
    assert one.silent_s < 5


@pytest.mark.parametrize("text", STRANGE)
def test_nonsense_is_left_out_and_disturbs_nobody(
    ledger: AnyLedger, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reads workers and devices goes on, whoever registers or ends too; it is logged once."""
    ledger.register("w1", worker("edge-1"))
    for name in ("workers", "vitals", "health", "drained"):
        write_raw(ledger, name, "stranger", text)
    write_raw(ledger, "owner", "edge-1", text)
    write_raw(ledger, "health", "edge-1", text)
    if not isinstance(ledger, MemoryLedger):  # the one in memory counts in numbers
        write_raw(ledger, "W", "stranger", text if text != "7" else "-7")
        assert "stranger" not in ledger.pulse(0.5).counted
    with caplog.at_level(logging.WARNING, "rex.ledger"):
        for _ in range(3):
            assert list(ledger.workers()) == ["w1"]
            ledger.devices()
    assert len([one for one in caplog.records if "announcement of 'stranger'" in one.getMessage()]) == 1
    ledger.register("w2", worker("edge-1"))
    ledger.register("stranger", worker("edge-3"))
    ledger.fence("stranger")
    ledger.leave("w1")
    assert ledger.renew("w2", [], Vitals(number=1)) is not None
    ledger.judge({"edge-1": ("", Health(state=HealthState.HEALTHY))})
    assert ledger.drain("edge-1", by="ann")
    assert ledger.devices()


def test_a_change_of_health_is_told_once_whoever_judges(ledger: AnyLedger) -> None:
    """Compare and set; numbers may change without an event."""
    well, short = Health(state=HealthState.HEALTHY), Depleted(resource="disk", percent=95, threshold=90)
    degraded = Health(state=HealthState.DEGRADED, reasons=("resource: disk 95 %",), depleted=(short,))
    gone = Health(state=HealthState.UNKNOWN, reasons=("no worker",))
    assert ledger.judge({"edge-1": ("", well), "edge-2": ("", gone)}) == set()
    assert ledger.judge({"edge-1": ("", well)}) == {"edge-1"}
    since = ledger.health()["edge-1"].since_ms
    assert ledger.judge({"edge-1": ("healthy", degraded)}) == set()
    fuller = short.model_copy(update={"percent": 97})
    assert ledger.judge({"edge-1": ("degraded", degraded.model_copy(update={"depleted": (fuller,)}))}) == set()
    assert ledger.health()["edge-1"].since_ms >= since > 0
    assert ledger.health()["edge-1"].depleted == (fuller,)
    ledger.judge({"edge-1": ("degraded", well)})
    ledger.judge({"edge-1": ("healthy", gone)})
    assert told(ledger) == [
        ("distributed:device:available", {"device": "edge-1", "state": "healthy", "reasons": []}),
        ("system:resource:depleted", {"device": "edge-1", "resource": "disk", "percent": 95, "threshold": 90}),
        ("system:resource:available", {"device": "edge-1", "resource": "disk"}),
        ("distributed:device:unavailable", {"device": "edge-1", "state": "unknown", "reasons": ["no worker"]}),
    ]


def test_a_device_is_drained_and_given_work_again(ledger: AnyLedger) -> None:
    """Each once; who did it, why and when stands with it."""
    ledger.register("w1", worker("edge-1"))
    assert ledger.drain("edge-1", by="ann", reason="new disk")
    assert not ledger.drain("edge-1", by="bob")
    drained = ledger.drained()["edge-1"]
    assert (drained.by, drained.reason, drained.at_ms > 0) == ("ann", "new disk", True)
    assert ledger.devices()[0].drained == drained
    assert ledger.undrain("edge-1", by="ann") == 0
    assert ledger.undrain("edge-1", by="ann") is None
    assert (ledger.drained(), ledger.devices()[0].drained) == ({}, None)
    assert told(ledger) == [
        ("distributed:device:drained", {"device": "edge-1", "by": "ann", "reason": "new disk"}),
        ("distributed:device:undrained", {"device": "edge-1", "by": "ann"}),
    ]


@pytest.mark.parametrize("call", ["drain", "undrain"])
def test_an_unknown_device_is_refused_with_what_is_there(ledger: AnyLedger, call: str) -> None:
    with pytest.raises(UnknownDevice, match=r"no device 'edge-9': there is none"):
        getattr(ledger, call)("edge-9", by="ann")
    ledger.register("w1", worker("edge-1", "edge-2"))
    with pytest.raises(UnknownDevice, match=r"no device 'edge-9': there are edge-1, edge-2"):
        getattr(ledger, call)("edge-9", by="ann")


def test_a_drained_device_stays_known_and_one_that_is_left_for_long_is_forgotten(ledger: AnyLedger) -> None:
    ledger.register("w1", worker("edge-1", "edge-2", "edge-3"))
    ledger.register("w2", worker("edge-3"))
    ledger.judge({"edge-1": ("", Health())})
    ledger.drain("edge-2", by="ann")
    ledger.leave("w1")
    ledger.forget_devices(60, ["edge-1", "edge-2", "edge-3", "edge-9"])
    assert sorted(ledger.owners()) == ["edge-1", "edge-2", "edge-3"]
    ledger.forget_devices(-1, ["edge-1", "edge-2", "edge-3", "edge-9"])
    assert sorted(ledger.owners()) == ["edge-2", "edge-3"]
    assert ledger.health() == {}


def test_who_renews_hears_whether_it_is_known(ledger: AnyLedger) -> None:
    """A server that lost its last moments has forgotten it, and would give it no work."""
    assert ledger.renew("w1", []) == Renewed(announced=False)
    ledger.register("w1", worker("edge-1"))
    assert ledger.renew("w1", []) == Renewed(announced=True)
    ledger.retreat("w1")
    assert ledger.renew("w1", []) == Renewed(announced=True)


def test_what_runs_on_a_drained_device_goes_on(ledger: AnyLedger) -> None:
    """A claim that was given stays, is renewed, and is settled."""
    ledger.register("w1", worker("edge-1"))
    tried = Tried(ledger).start(in_group("a"))
    held = tried.claim("a")
    ledger.drain("edge-1", by="ann")
    renewed = ledger.renew("w1", [held])
    assert renewed is not None
    assert renewed.stopped == frozenset()
    tried.settle(held)
    assert tried.status("a") == "succeeded"


def test_what_was_parked_for_a_drained_device_goes_out_when_it_is_given_work_again(ledger: AnyLedger) -> None:
    """Who parks notes it under the device; what is gone meanwhile is passed over."""
    ledger.register("w1", worker("edge-1"))
    tried = Tried(ledger).start(in_group("a b"))
    held = tried.claim("a")
    assert tried.answer("a", holder="w2") == "park"
    ledger.drain("edge-1", by="ann")
    note_as_parked(ledger, "edge-1", "E1|0|a", "E1|0|b", "gone|0|x")
    assert ledger.undrain("edge-1", by="ann") == 1
    assert isinstance(held, Claimed)
    assert "p:E1|0|a" in tried.sent()


def note_as_parked(ledger: AnyLedger, device: str, *members: str) -> None:
    if isinstance(ledger, MemoryLedger):
        for member in members:
            execution, generation, action = member.split("|")
            ledger._store.drainpark[device].add((execution, int(generation), action))
    else:
        ledger._client.sadd(ledger._key("drainpark", device), *members)


def test_texts_of_people_may_be_anything(ledger: AnyLedger) -> None:
    """Who drains, and why, is written as it was said."""
    strange = 'a "quote" \\ ☃ \n{}'
    ledger.register("w1", worker("edge-1", host=strange[:20]))
    ledger.drain("edge-1", by=strange, reason=strange)
    assert (ledger.drained()["edge-1"].by, ledger.drained()["edge-1"].reason) == (strange, strange)
    assert json.loads(json.dumps(told(ledger)[-1][1]))["by"] == strange
