"""What only a real server can show: keys that stay, size, the disk, its own errors."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest
import redis
from support.ledgers import WRONG, Tried, in_group, in_sequence, named, step, woken
from support.server import Server, server_binary
from support.waiting import wait_until

from executor.ledger.scripts import names
from executor.ledger.valkey import ValkeyLedger
from executor.model.device import Announcement
from executor.model.errors import LedgerFull, Unreachable
from executor.model.plan import group, sequence


@pytest.fixture
def ledger(valkey: Server) -> Iterator[ValkeyLedger]:
    made = ValkeyLedger(valkey.url)
    yield made
    made.close()


def test_nothing_of_a_forgotten_execution_is_left(ledger: ValkeyLedger, valkey: Server) -> None:
    woken(ledger)
    tried = Tried(ledger).start(in_group("a b c"), in_sequence("d"), parallel=1, max_failures=0)
    a = tried.claim("a")
    for name in ("a", "b", "c"):
        tried.ask(name, holder="w2")
    ledger.record_undo(a, {"data": 1})
    ledger.progress(a, 0.5, "half")
    tried.settle(a, "retry")
    woken(ledger)
    tried.ask("a")
    b = tried.claim("b")
    tried.settle(b, "failed")
    tried.begin(in_group("u v"))
    tried.do("u", "v", generation=1)
    ledger.advance("E1", 1, 0)
    ledger.conclude("E1", "failed", rollback="completed")
    woken(ledger)
    ledger.forget("E1")
    with valkey.client() as client:
        assert sorted(client.keys("*")) == ["rex:{0}:events", "rex:{0}:nudge", "rex:{0}:ob:n"]


def test_an_action_whose_forgetting_was_cut_off_is_forgotten_again(ledger: ValkeyLedger, valkey: Server) -> None:
    tried = Tried(ledger).start(in_group("a"))
    tried.do("a")
    ledger.advance("E1", 0, 0)
    ledger.conclude("E1", "completed")
    ledger._forget_actions("E1", 0, ["a"])  # and then the process died
    assert ledger.finished_before(0.0, 9) == ["E1"]
    ledger.forget("E1")
    assert ledger.finished_before(0.0, 9) == []


@pytest.mark.parametrize("shape", ["group", "sequence"])
def test_ten_thousand_actions(ledger: ValkeyLedger, shape: str) -> None:
    steps = named(" ".join(f"action-{number}" for number in range(10_000)))
    stages = [group(steps)] if shape == "group" else sequence(steps, length=25, fuse=True)
    tried = Tried(ledger)
    began = time.monotonic()
    tried.start((stages[0], steps), *((stage, []) for stage in stages[1:]), parallel=5)
    took_s = time.monotonic() - began
    assert took_s < 10, f"{took_s:.2f} s"  # 0.5 s on a quiet machine
    assert tried.field("left") == str(len(stages[0].steps))
    tried.do("action-0")
    assert tried.answer("action-9999") == ("unknown" if shape == "sequence" else "run")
    tried.ledger.expire("w1", ("E1", 0, "action-9999"), sure=True, error=WRONG)
    ledger.cancel("E1", WRONG, undo=False)
    ledger.conclude("E1", "cancelled")
    ledger.forget("E1")
    assert ledger.steps("E1", 0) == {}


def test_every_script_says_first_what_it_is_for() -> None:
    for name in [*names(), "prelude"]:
        assert (files("executor.ledger") / "lua" / f"{name}.lua").read_text().startswith("-- "), name


def test_scripts_are_loaded_again_after_a_restart(ledger: ValkeyLedger, valkey: Server) -> None:
    tried = Tried(ledger).start(in_group("a"))
    with valkey.client() as client:
        client.script_flush()
    tried.do("a")
    assert tried.status("a") == "succeeded"


def test_a_restart_between_the_loading_of_a_script_and_its_call(
    ledger: ValkeyLedger, valkey: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a worker that settles for the first time just then would lose what it did."""
    load, forgot = ledger._client.script_load, list[bool]()
    with valkey.client() as client:
        client.script_flush()

    def forgotten_at_once(text: str) -> str:
        sha = str(load(text))
        with valkey.client() as client:
            forgot.append(client.script_flush())
        return sha

    monkeypatch.setattr(ledger._client, "script_load", forgotten_at_once)
    ledger.register("w1", Announcement(devices=("edge-1",)))
    assert forgot
    assert list(ledger.workers()) == ["w1"]


def test_a_full_server_says_so(ledger: ValkeyLedger, valkey: Server) -> None:
    with valkey.client() as client:
        client.config_set("maxmemory", "1mb")
        try:
            with pytest.raises(LedgerFull, match="memory"):
                Tried(ledger).submit()
        finally:
            client.config_set("maxmemory", "0")
    assert Tried(ledger).submit()


def test_a_worker_outlasts_a_full_server(valkey: Server) -> None:
    """What it did is settled when there is memory again, and not forgotten."""
    ledger = ValkeyLedger(valkey.url, patience_s=600)
    tried = Tried(ledger).start(in_group("a"))
    claimed = tried.claim("a")
    with valkey.client() as client:
        client.config_set("maxmemory", "1mb")
        refused = int(client.info("stats")["total_error_replies"])

        def lift() -> None:
            wait_until(
                lambda: int(client.info("stats")["total_error_replies"]) > refused + 2,
                description="it was refused, and came again",
            )
            client.config_set("maxmemory", "0")

        lifting = threading.Thread(target=lift)
        lifting.start()
        assert tried.settle(claimed).verdict == "ok"
        lifting.join()
    assert tried.status("a") == "succeeded"
    ledger.close()


def test_what_may_not_run_twice_is_on_the_disk_first(valkey: Server) -> None:
    ledger = ValkeyLedger(valkey.url, power_safe=True)
    tried = Tried(ledger).start(in_sequence([step("a"), step("b", idempotent=True), step("c")]))
    with valkey.client() as client:
        client.config_set("appendfsync", "always")

        def waits() -> int:
            stats = client.info("commandstats")
            return int(stats.get("cmdstat_waitaof", {}).get("calls", 0))

        before = waits()
        a = tried.claim("a", "b", "c")
        assert waits() == before + 1
        ledger.record_undo(a, {"data": 1})
        assert waits() == before + 2
        b = tried.settle(a, then=["b"]).following
        assert waits() == before + 2  # b may run twice
        assert b is not None
        tried.settle(b, then=["c"])  # type: ignore[arg-type]
        assert waits() == before + 3
        assert tried.answer("c") == "park"
        assert waits() == before + 3
        client.config_set("appendfsync", "no")
    ledger.close()


def test_without_a_file_power_safety_is_refused(tmp_path: Path) -> None:
    server = Server(tmp_path / "s").start()
    with server.client() as client:
        client.config_set("appendonly", "no")
    ledger = ValkeyLedger(server.url, power_safe=True)
    tried = Tried(ledger).start(in_group("a"))
    with pytest.raises(Unreachable, match="appendonly"):
        tried.claim("a")
    ledger.close()
    server.stop()


@pytest.mark.parametrize("slow", ["the server at", "every replica of the server at"])
def test_a_claim_waits_for_a_disk_that_is_slow_and_not_for_ever(
    valkey: Server, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    """To give up at once would end what nobody has begun as if it had been."""
    with closing(ValkeyLedger(valkey.url, patience_s=20, power_safe=True)) as ledger:
        tried = Tried(ledger).start(in_group("a b"))
        answers = iter([slow, slow, ""])
        monkeypatch.setattr(ledger, "_slow_to_write", lambda: next(answers))
        tried.claim("a")
        assert list(answers) == []
        monkeypatch.setattr(ledger, "_slow_to_write", lambda: slow)
        monkeypatch.setattr(ledger, "_patience_s", 0.01)
        with pytest.raises(Unreachable, match=rf"{slow} .* did not get its disk to write in time"):
            tried.claim("b")


def test_the_ledger_survives_a_restart_of_its_server(tmp_path: Path) -> None:
    server = Server(tmp_path / "s").start()
    with server.client() as client:
        client.config_set("appendfsync", "everysec")
    with closing(server), closing(ValkeyLedger(server.url, patience_s=20, power_safe=True)) as ledger:
        tried = Tried(ledger).start(in_group("a"))
        held = tried.claim("a")
        server.kill()
        server.start()
        assert tried.settle(held).verdict == "ok"


def test_a_pulse_tells_since_when_a_run_of_the_server_is_looked_at(tmp_path: Path) -> None:
    """Of whom it heard before, the end of the connection tells nothing."""
    server = Server(tmp_path / "s").start()
    with closing(server), closing(ValkeyLedger(server.url, patience_s=20)) as ledger:
        first = ledger.pulse(1.0)
        ledger.register("w1", Announcement(devices=("edge-1",)))
        assert first.since_ms == 0
        assert ledger.pulse(1.0).since_ms == first.since_ms
        server.kill()
        server.start()
        again = ledger.pulse(0.0)
        assert again.silent["w1"] < again.since_ms <= again.now_ms
        assert again.run_id != first.run_id
        ledger.renew("w1", [])
        assert ledger.seen()["w1"] >= again.since_ms


def test_a_server_that_is_away_is_unreachable(tmp_path: Path) -> None:
    assert server_binary()
    ledger = ValkeyLedger(f"unix://{tmp_path}/nobody?db=0", patience_s=0.1)
    for call in (ledger.ping, Tried(ledger).submit, lambda: ledger.head("E1"), lambda: ledger.forget("E1")):
        with pytest.raises(Unreachable):
            call()


def test_the_common_stream_has_every_event(ledger: ValkeyLedger, valkey: Server) -> None:
    tried = Tried(ledger).start(in_group("a"))
    tried.do("a")
    with valkey.client() as client:
        assert isinstance(client, redis.Redis)
        rows = [fields for _, fields in client.xrange("rex:{0}:events")]
    assert [row["n"] for row in rows] == tried.events()
    assert [int(row["s"]) for row in rows] == list(range(1, len(rows) + 1))
    assert {row["x"] for row in rows} == {"E1"}
    assert all(json.loads(row["d"]) is not None for row in rows)
