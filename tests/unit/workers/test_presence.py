"""A worker's name stands in the server's list of connections as long as its process lives."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.server import Server
from support.waiting import wait_until

from executor.ledger.connection import connect
from executor.ledger.valkey import ValkeyLedger
from workers.presence import Presence

WORKER = """
import sys, time
from executor.ledger.valkey import ValkeyLedger
from workers.presence import Presence
presence = Presence(sys.argv[1], "w1")
presence.start()
ledger = ValkeyLedger(sys.argv[1], name="rex:w1", patience_s=0.5)
ledger.ping()
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "server")
    made.start()
    yield made
    made.kill()


@pytest.fixture
def worker(server: Server) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", WORKER, server.url], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def names(server: Server) -> set[str]:
    ledger = ValkeyLedger(server.url, name="looking", patience_s=5)
    try:
        return ledger.client_names() - {"looking", ""}
    finally:
        ledger.close()


def test_the_name_stands_until_the_process_dies(server: Server, worker: subprocess.Popen[bytes]) -> None:
    """Also where all other connections of the worker are closed; a SIGKILL takes it away."""
    wait_until(lambda: names(server) == {"rex:w1", "w:w1"}, description="both connections stand")
    looking = connect(server.url, name="looking", patience_s=5)
    for connection in looking.client_list():
        if connection["name"] == "rex:w1":
            looking.client_kill_filter(_id=connection["id"])
    looking.close()
    assert names(server) == {"w:w1"}
    os.kill(worker.pid, signal.SIGKILL)
    wait_until(lambda: names(server) == set(), description="it is gone with its process")


def test_it_is_back_after_a_restart_of_the_server(server: Server, worker: subprocess.Popen[bytes]) -> None:
    """Killed and started again, and when somebody closes that connection alone."""
    wait_until(lambda: "w:w1" in names(server), description="it stands")
    server.kill()
    server.start()
    wait_until(lambda: "w:w1" in names(server), description="it stands again")
    looking = connect(server.url, name="looking", patience_s=5)
    (before,) = [one["id"] for one in looking.client_list() if one["name"] == "w:w1"]
    looking.client_kill_filter(_id=before)
    wait_until(
        lambda: [one["id"] for one in looking.client_list() if one["name"] == "w:w1"] not in ([], [before]),
        description="a new one stands",
    )
    looking.close()
    assert worker.poll() is None


def test_it_waits_for_ever(server: Server) -> None:
    """Whatever timeout it had would close the connection of a worker that only does not hear the server."""
    kept = Presence(server.url, "w1")._client.connection_pool.connection_kwargs
    assert kept["socket_timeout"] is None
    assert not kept.get("health_check_interval")
