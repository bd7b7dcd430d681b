"""The two services under examples/ run in virtual environments of their own, against a real cluster."""

import re
import socket
import sys
from pathlib import Path

import pytest
from support.cluster import Cluster
from support.installing import ROOT, build_wheel, environment, run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

WITH_CLIENT = ROOT / "examples" / "service-with-client"
WITH_CELERY = ROOT / "examples" / "service-with-celery"


@pytest.fixture
def tcp(three_devices: Cluster) -> str:
    """The server's address over TCP, as services have it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with three_devices.server.client() as client:
        client.config_set("bind", "127.0.0.1")
        client.config_set("port", str(port))
    return f"redis://127.0.0.1:{port}/0"


def requirements(folder: Path) -> list[str]:
    return (folder / "requirements.txt").read_text().split()


def test_a_service_with_the_client(three_devices: Cluster, tcp: str, tmp_path: Path) -> None:
    """What it needs is our distribution; both clients submit, follow and wait."""
    assert requirements(WITH_CLIENT) == ["resolution-executor"]
    python = environment(tmp_path / "venv", [build_wheel(ROOT, tmp_path)])
    said = run(python, WITH_CLIENT / "service.py", tcp, tmp_path, cwd=tmp_path)
    assert said.splitlines()[-2:] == ["on: completed", "off: completed"]
    assert "1 execution:submitted" in said
    assert not (tmp_path / "maintenance.html").exists()
    newest = three_devices.client.list(limit=2)
    assert {row["strategy"] for row in newest} == {"maintenance-on", "maintenance-off"}


def test_the_client_loads_no_celery(tcp: str, tmp_path: Path) -> None:
    """In the service's process stand neither Celery nor our other packages, also when it has submitted."""
    code = (
        "import sys; from executor import ResolutionClient\n"
        f"with ResolutionClient({tcp!r}) as client: client.list()\n"
        "print(sorted({'celery', 'kombu', 'config', 'workers', 'rollback'} & {n.split('.')[0] for n in sys.modules}))"
    )
    assert run(sys.executable, "-P", "-c", code, cwd=tmp_path) == "[]\n"


def test_a_service_with_celery_alone(three_devices: Cluster, tcp: str, tmp_path: Path) -> None:
    """It has neither our package nor pydantic; the task's id is the execution's, and its events tell the end."""
    python = environment(tmp_path / "venv", requirements(WITH_CELERY))
    found = "import importlib.util as u; print([n for n in ('executor', 'pydantic', 'config') if u.find_spec(n)])"
    assert run(python, "-P", "-c", found, cwd=tmp_path) == "[]\n"
    said = run(python, WITH_CELERY / "service.py", tcp, tmp_path, cwd=tmp_path)
    ended = re.search(r"^(\S+): execution:completed $", said, re.MULTILINE)
    assert ended, said
    assert three_devices.client.status(ended[1])["actions"]["page"]["status"] == "succeeded"
    assert (tmp_path / "maintenance.html").read_text() == "Back at noon."


@pytest.mark.parametrize("folder", [WITH_CLIENT, WITH_CELERY], ids=lambda folder: folder.name)
def test_a_service_says_how_it_is_started(folder: Path) -> None:
    """Its README names the files that there are."""
    text = (folder / "README.md").read_text()
    assert "service.py" in text
    assert "requirements.txt" in text
