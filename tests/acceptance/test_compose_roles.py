"""The roles of docker-compose.yml as plain processes: its own commands and environment, only places are put in."""

import base64
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.server import server_binary
from support.waiting import wait_until

from executor import ResolutionClient, Unreachable

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Roles:
    """Services of the compose file on this host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
        self.given = {"REX_PASSWORD": secrets.token_hex(16), "FLOWER_PASSWORD": secrets.token_hex(8)}
        self.port, self.flower_port = free_port(), free_port()
        self.processes: list[subprocess.Popen[bytes]] = []
        binaries = folder / "bin"
        binaries.mkdir()
        (binaries / "valkey-server").symlink_to(server_binary())
        self.path = f"{binaries}:{Path(sys.executable).parent}:{os.environ['PATH']}"

    def _filled_in(self, text: str) -> str:
        """Interpolation as Compose does it, and places: hosts and ports of this host."""
        text = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: self.given[found[1]], text).replace("$$", "$")
        return text.replace("@valkey:6379", f"@127.0.0.1:{self.port}").replace("5555", str(self.flower_port))

    def start(self, name: str, number: int = 1) -> None:
        service = self.services[name]
        home = self.folder / name
        home.mkdir(exist_ok=True)
        environment = {key: self._filled_in(value) for key, value in service["environment"].items()}
        if "REX_STATE_DIR" in environment:  # the volume
            environment["REX_STATE_DIR"] = str(home)
        command = [self._filled_in(part) for part in service["command"]]
        assert not any(password in part for password in self.given.values() for part in command)
        with (self.folder / f"{name}-{number}.log").open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    command, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                    env={**environment, "PATH": self.path, "PORT": str(self.port), "HOME": str(home)},
                )
            )  # fmt: skip

    @property
    def url(self) -> str:
        return self._filled_in(self.services["coordinator"]["environment"]["REX_BROKER_URL"])

    def close(self) -> None:
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self.processes):
            assert process.wait(timeout=60) is not None


@pytest.fixture
def roles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roles]:
    made = Roles(tmp_path_factory.mktemp("compose"))
    try:
        yield made
    finally:
        made.close()


def test_the_compose_file_is_a_cluster_that_recovers(roles: Roles, tmp_path: Path) -> None:
    roles.start("valkey")
    client = ResolutionClient(roles.url)

    def answers() -> bool:
        try:
            return client.list() == []
        except Unreachable:
            return False

    wait_until(answers, description="the server answers")
    for name in ("coordinator", "edge-1", "edge-2", "edge-3", "flower"):
        roles.start(name)
    roles.start("edge-1", 2)
    wait_until(lambda: len(client.workers()) == 5, description="all workers have registered")
    actions = [
        {"id": f"write-{n}", "device": f"edge-{n}", "uses": "file.create",
         "with": {"path": str(tmp_path / f"{n}.txt"), "content": "x"}}
        for n in (1, 2, 3)
    ]  # fmt: skip
    bad = {"id": "bad", "device": "edge-2", "uses": "command", "with": {"run": "false"}, "retry": "none"}
    document = {"name": "composed", "actions": [*actions, {**bad, "compensate": "none"}]}
    report = client.result(client.submit(document), timeout_s=60)
    assert report["status"] == "failed"
    assert [done["device"] for done in report["rollback"]["compensated"]] == ["edge-3", "edge-2", "edge-1"]
    assert not list(tmp_path.glob("*.txt"))
    health = roles.services["coordinator"]["healthcheck"]["test"]
    checked = subprocess.run(
        [Path(roles.path.split(":")[1]) / health[1], *health[2:]],
        env={"REX_BROKER_URL": roles.url, "PATH": roles.path, "HOME": str(tmp_path)}, capture_output=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout
    wait_until(lambda: flower_answers(roles), description="Flower answers")
    client.close()


def flower_answers(roles: Roles) -> bool:
    request = urllib.request.Request(f"http://127.0.0.1:{roles.flower_port}/api/workers")
    token = base64.b64encode(f"rex:{roles.given['FLOWER_PASSWORD']}".encode()).decode()
    request.add_header("Authorization", f"Basic {token}")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return isinstance(json.load(answer), dict)
    except OSError:
        return False
