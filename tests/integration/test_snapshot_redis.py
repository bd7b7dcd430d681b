"""snapshot.redis on a real server: exactly the keys that match, with their bytes and their expiry."""

import itertools
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from support.dying import kill_at_every_step
from support.server import Server, server_binary
from support.waiting import wait_until
from support.worlds import Bench

from executor.action import Json, Undo
from executor.model.errors import ActionCancelled, ActionError, ChangedSince
from rollback.stores import MemoryStore
from workers.actions.saved_stream import PIECE_BYTES
from workers.actions.snapshot_redis import _HEADER, Redis

REDIS = Redis()
HOUR_MS = 3_600_000


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def client(valkey: Server) -> Iterator[redis.Redis]:
    """Speaks bytes."""
    with redis.Redis(unix_socket_path=str(valkey.socket)) as made:
        yield made


def place(valkey: Server, *patterns: str, **more: Any) -> dict[str, Any]:
    return {"url": f"unix://{valkey.socket}", "patterns": list(patterns or ["*"])} | more


def take(bench: Bench, where: dict[str, Any]) -> Json:
    data = bench.begin(REDIS, **where).snapshot
    assert data is not None
    return data


def restore(bench: Bench, where: dict[str, Any], data: Json, **undo: Any) -> Json:
    return REDIS.restore(bench.run(REDIS, **where), data, Undo(snapshot=data, **undo))


def content(client: redis.Redis) -> dict[bytes, tuple[bytes, int]]:
    """Every key with its dump and its expiry."""
    return {key: (client.dump(key), client.pexpiretime(key)) for key in client.keys("*")}


def fill(client: redis.Redis) -> None:
    now = int(client.time()[0]) * 1000
    client.set("a:text", "one")
    client.set(b"a:\xff\x00\n binary", b"\x00\xfe" * 50, pxat=now + HOUR_MS + 123)
    client.hset("a:hash", mapping={f"f{n}": n for n in range(200)})
    client.rpush("a:list", *range(100))
    client.sadd("a:set", *range(100))
    client.zadd("a:sorted", {f"m{n}": n / 7 for n in range(100)})
    client.xadd("a:stream", {"x": 1}, id="5-1")
    client.xgroup_create("a:stream", "readers", "0")
    client.set("b:other", "kept")


def spoil(client: redis.Redis) -> None:
    client.delete("a:text", "a:list")
    client.set("a:hash", "of another type")
    client.persist(b"a:\xff\x00\n binary")
    client.zadd("a:sorted", {"m1": 99})
    client.set("a:new", "since")


def test_keys_are_as_before(bench: Bench, valkey: Server, client: redis.Redis) -> None:
    """Every type, binary names, expiry to the millisecond; keys added since go, other keys stay as they are."""
    fill(client)
    before = content(client)
    where = place(valkey, "a:*")
    result, _ = bench.do(REDIS, **where)
    data = take(bench, where)
    assert (result["keys"], result["patterns"]) == (7, ["a:*"])
    spoil(client)
    client.set("b:other", "changed")
    assert restore(bench, where, data) == {"keys": 7, "removed": 1}
    assert client.get("b:other") == b"changed"
    client.set("b:other", "kept")
    assert content(client) == before
    restore(bench, where, data)
    assert content(client) == before


def test_a_key_that_expired_meanwhile_stays_gone(bench: Bench, valkey: Server, client: redis.Redis) -> None:
    """Also where somebody has set it again without expiry."""
    client.set("short", "x", px=1000)
    client.set("again", "x", px=1000)
    client.set("long", "x", ex=3600)
    data = take(bench, place(valkey))
    assert data["summary"]["keys"] == 3
    wait_until(lambda: client.exists("short", "again") == 0, description="they have expired")
    client.set("again", "for ever")
    restore(bench, place(valkey), data)
    assert client.keys("*") == [b"long"]


def test_databases_are_apart(bench: Bench, valkey: Server, client: redis.Redis) -> None:
    """db, or the url, says which; the other is left alone."""
    with redis.Redis(unix_socket_path=str(valkey.socket), db=3) as third:
        third.set("x", "three")
        client.set("x", "zero")
        data = take(bench, place(valkey, db=3))
        by_url = take(bench, place(valkey, url=f"unix://{valkey.socket}?db=3"))
        third.delete("x")
        for saved in (data, by_url):
            client.set("x", "changed")
            restore(bench, place(valkey), saved)
            assert (third.get("x"), client.get("x")) == (b"three", b"changed")
            third.set("x", "spoiled")


def test_a_restore_killed_anywhere_and_called_again_is_exact(bench: Bench, valkey: Server, client: redis.Redis) -> None:
    """SIGKILL at each portion, and between restoring and removing."""
    fill(client)
    client.mset({f"many:{n}": n for n in range(900)})
    before = content(client)
    data = take(bench, place(valkey))

    def ruin() -> None:
        spoil(client)
        client.mset({f"many:{n}": "x" for n in range(0, 2000, 2)})

    def check() -> None:
        assert content(client) == before

    assert kill_at_every_step(bench, REDIS, data, ruin, check, **place(valkey)) >= 8


def test_big_keys_are_cut_into_pieces(bench: Bench, valkey: Server, client: redis.Redis) -> None:
    """One larger than a piece of the store, beside small ones."""
    client.hset("big", mapping={f"f{n}": f"{n}" * 2000 for n in range(3000)})
    client.mset({f"small:{n}": n for n in range(500)})
    before = content(client)
    client.set("text", os.urandom(2 * PIECE_BYTES))
    before = content(client)
    data = take(bench, place(valkey))
    assert len(data["content"]["pieces"]) > 2
    client.flushdb()
    restore(bench, place(valkey), data)
    assert content(client) == before


def test_keys_that_vanish_while_it_is_taken_are_fine(bench: Bench, valkey: Server, client: redis.Redis) -> None:
    """Somebody deletes all the time: what is saved are keys that were there."""
    client.mset({f"k{n}": n for n in range(5000)})
    run = bench.run(REDIS, **place(valkey))
    steps = itertools.count()
    run._guard = lambda: client.delete(*(f"k{n}" for n in range(next(steps) * 50, 5000, 7))) and None
    data = REDIS.take(run).data
    assert 0 < data["summary"]["keys"] < 5000


def test_passwords_and_rights(
    bench: Bench, valkey: Server, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password comes from the device and stands in no error; a user without the rights is told."""
    monkeypatch.setenv("RIGHT", "trout-und-perch")
    monkeypatch.setenv("WRONG", "herring-and-eel")
    client.set("x", "1")
    client.acl_setuser(
        "shop", enabled=True, reset=True, passwords=["+trout-und-perch"], keys=["*"], categories=["+@all"]
    )
    url = f"unix://shop@{valkey.socket}"
    try:
        where = place(valkey, url=url, password="secret://env/RIGHT")
        data = take(bench, where)
        assert "trout" not in str(data)
        restore(bench, where, data)
        with pytest.raises(ActionError, match="it refuses us: give `password: secret://env/NAME`") as caught:
            take(bench, place(valkey, url=url, password="secret://env/WRONG"))
        assert "herring" not in str(caught.value)
        assert caught.value.classification.category == "configuration"
        client.acl_setuser("shop", enabled=True, commands=["-dump"])
        with pytest.raises(ActionError, match=r"the user may not do that .*dump"):
            take(bench, where)
    finally:
        client.acl_deluser("shop")


def test_mistakes_are_found_before_anything_is_asked(bench: Bench) -> None:
    """Schemes, passwords in the open, two databases; the same once an expression was filled in."""

    def problems(**parameters: Any) -> str:
        return "; ".join(f"{path}: {said}" for path, said in REDIS.problems({"patterns": ["*"], **parameters}))

    assert problems(url="redis://h:6379/2") == ""
    assert problems(url="${{ inputs.url }}") == ""
    assert "is no redis://" in problems(url="http://h")
    for url in ("redis://:secret@h", "redis://u:secret@h", "unix:///s?password=secret"):
        assert "holds a password" in problems(url=url)
        with pytest.raises(ActionError, match="holds a password") as caught:
            take(bench, {"url": url, "patterns": ["*"]})
        assert ":secret" not in str(caught.value)
    assert "only one of them" in problems(url="redis://h/2", db=1)
    assert "never written" in problems(url="redis://h", password="secret")
    with pytest.raises(ValueError, match="patterns"):
        bench.run(REDIS, url="redis://h", patterns=[])


def test_a_server_that_is_not_there(bench: Bench, valkey: Server, tmp_path: Path) -> None:
    """Named, and another attempt may help; a database that it does not have is a mistake."""
    with pytest.raises(ActionError, match=rf"the Redis server {tmp_path}/no/0: it does not answer") as caught:
        take(bench, {"url": f"unix://{tmp_path}/no", "patterns": ["*"]})
    assert caught.value.classification.retryable
    with pytest.raises(ActionError, match="DB index is out of range") as caught:
        take(bench, place(valkey, db=99))
    assert not caught.value.classification.retryable


def test_replicas_and_clusters_are_refused(
    bench: Bench, valkey: Server, client: redis.Redis, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Neither can be restored to as a whole."""
    client.replicaof("127.0.0.1", 1)
    try:
        with pytest.raises(ActionError, match="is a replica and cannot be restored to"):
            take(bench, place(valkey))
    finally:
        client.replicaof("NO", "ONE")
    folder = tmp_path_factory.mktemp("c")
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        port, bus = (str(free.getsockname()[1]) for free in (one, two))  # a node of a cluster wants ports
    argv = [
        server_binary(),
        "--port",
        port,
        "--cluster-port",
        bus,
        "--bind",
        "127.0.0.1",
        "--unixsocket",
        "s",
        "--save",
        "",
    ]
    with subprocess.Popen([*argv, "--cluster-enabled", "yes"], cwd=folder, stdout=subprocess.DEVNULL) as node:
        try:
            wait_until((folder / "s").exists, description="the node of a cluster listens")
            with pytest.raises(ActionError, match="clusters are not supported"):
                take(bench, {"url": f"unix://{folder}/s", "patterns": ["*"]})
        finally:
            node.kill()


def test_what_a_newer_server_saved_is_refused_before_anything_is_changed(
    bench: Bench, valkey: Server, client: redis.Redis
) -> None:
    """The server checks one dump without creating a key of it."""
    client.set("x", "1")
    data = take(bench, place(valkey))
    dump = client.dump("x")
    newer = dump[:-10] + b"\xff\xff" + dump[-8:]
    data["content"]["pieces"] = [bench.saved.save(_HEADER.pack(1, len(newer), 0) + b"x" + newer)]
    client.set("y", "since")
    with pytest.raises(
        ActionError, match="cannot read what was saved, which is of a newer server; nothing was changed"
    ):
        restore(bench, place(valkey), data)
    assert sorted(client.keys("*")) == [b"x", b"y"]


def test_the_store_full_or_damaged(bench: Bench, valkey: Server, client: redis.Redis) -> None:
    """Too small: an error, nothing saved. A flipped byte: refused before anything is changed."""
    fill(client)
    data = take(bench, place(valkey))
    name = data["content"]["pieces"][0]
    saved, when = bench.saved._kept[name]
    bench.saved._kept[name] = (saved.replace(b"one", b"two"), when)
    spoil(client)
    now = content(client)
    with pytest.raises(ActionError, match=f"1 of its 1 pieces are missing or damaged.*{name}; nothing was changed"):
        restore(bench, place(valkey), data)
    assert content(client) == now
    bench.saved = MemoryStore(max_bytes=100)
    with pytest.raises(ActionError, match="cannot save") as caught:
        take(bench, place(valkey))
    assert caught.value.classification.type == "resource"
    assert not bench.saved._kept


def test_a_server_without_memory_is_told(bench: Bench, valkey: Server, client: redis.Redis) -> None:
    """What could not be restored is no success."""
    client.set("x", "1" * 10_000)
    data = take(bench, place(valkey))
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(ActionError, match="it has no more memory") as caught:
            restore(bench, place(valkey), data)
        assert caught.value.classification.type == "resource"
    finally:
        client.config_set("maxmemory", "0")


def test_cancel_ends_it(bench: Bench, valkey: Server, client: redis.Redis) -> None:
    """Between two portions."""
    client.mset({f"k{n}": n for n in range(2000)})
    run = bench.run(REDIS, **place(valkey))
    run._guard = bench.cancel.set
    with pytest.raises(ActionCancelled):
        REDIS.take(run)


def test_long_after_the_run_it_is_restored_only_by_force(bench: Bench, valkey: Server, client: redis.Redis) -> None:
    """Redis does not tell when a key was changed."""
    fill(client)
    before = content(client)
    data = take(bench, place(valkey))
    spoil(client)
    with pytest.raises(ChangedSince, match=r"cannot be known whether others changed the keys \*.*`--force` restores"):
        restore(bench, place(valkey), data, quiet=(1.0, 2.0))
    restore(bench, place(valkey), data, quiet=(1.0, 2.0), force=True)
    assert content(client) == before
