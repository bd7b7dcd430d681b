"""Each strategy under examples/strategies does on a real cluster what it says."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from support.cluster import Cluster
from support.worlds import Server, reply

from executor.catalogue import InstalledCatalogue
from executor.documents import load_file
from executor.validation import check

pytestmark = pytest.mark.cluster

FOLDER = Path(__file__).parents[2] / "examples" / "strategies"
FILES = sorted(FOLDER.glob("*.yaml"))


def run(cluster: Cluster, name: str, **inputs: Any) -> dict[str, Any]:
    return cluster.run(load_file(FOLDER / f"{name}.yaml").data, **inputs)


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_is_valid_and_named_like_its_file(file: Path) -> None:
    """No problem and no warning; a test of this module runs it."""
    found = check(load_file(file), InstalledCatalogue())
    assert (found.problems, found.warnings) == ((), ())
    assert found.strategy is not None
    assert found.strategy.name == file.stem
    assert f'"{file.stem}"' in Path(__file__).read_text()


def test_sequential(three_devices: Cluster, tmp_path: Path) -> None:
    """The file is edited, the service restarted, and the result read."""
    (tmp_path / "site.conf").write_text("port=80\n")
    assert run(three_devices, "sequential", workdir=str(tmp_path))["status"] == "completed"
    assert contents(tmp_path) == {"site.conf": "port=8080\n", "service.log": "restarted\n"}


def test_sequential_that_fails_is_taken_back(three_devices: Cluster, tmp_path: Path) -> None:
    """Nothing to change means an unmet criterion: the restart and the edit are taken back, newest first."""
    (tmp_path / "site.conf").write_text("port=8080\n")
    report = run(three_devices, "sequential", workdir=str(tmp_path))
    assert report["status"] == "failed"
    assert [one["action"] for one in report["rollback"]["compensated"]] == ["restart", "configure"]
    assert contents(tmp_path)["service.log"] == "restarted\nrestarted with the old configuration\n"


def test_parallel(three_devices: Cluster, tmp_path: Path) -> None:
    """Each cache is deleted on its own device; one that is not there is no failure."""
    for number in (1, 3):
        (tmp_path / f"cache-{number}").write_text("old")
    report = run(three_devices, "parallel", workdir=str(tmp_path))
    assert [action["result"]["deleted"] for action in report["actions"].values()] == [True, False, True]
    assert contents(tmp_path) == {}


def test_phased(three_devices: Cluster, tmp_path: Path) -> None:
    """Both copies are there, and the same, before either device is switched over."""
    report = run(three_devices, "phased", workdir=str(tmp_path))
    assert report["status"] == "completed"
    assert set(contents(tmp_path).values()) == {"2.0"}
    times = {name: action["started_at"] for name, action in report["actions"].items()}
    assert max(times["copy-1"], times["copy-2"]) < min(times["switch-1"], times["switch-2"])


def test_phased_that_fails_is_taken_back(three_devices: Cluster, tmp_path: Path) -> None:
    """One device cannot be switched: files and directories of both devices go again."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "current").write_text("1.9")
    report = run(three_devices, "phased", workdir=str(tmp_path))
    assert report["rollback"]["status"] == "completed"
    assert contents(tmp_path) == {"one/current": "1.9"}
    assert not (tmp_path / "two").exists()


def test_needs(three_devices: Cluster, tmp_path: Path) -> None:
    """The data is moved when both have stopped, and both start after that."""
    (tmp_path / "data").write_text("data")
    assert run(three_devices, "needs", workdir=str(tmp_path))["status"] == "completed"
    order = (tmp_path / "order").read_text().splitlines()
    assert (set(order[:2]), order[2]) == ({"stop left", "stop right"}, "move")
    assert set(order[3:]) == {"start left", "start right"}


def test_needs_that_fails_is_taken_back(three_devices: Cluster, tmp_path: Path) -> None:
    """There is no data to move: both readers are started again."""
    report = run(three_devices, "needs", workdir=str(tmp_path))
    assert (report["status"], report["error"]["action"]) == ("failed", "move")
    order = (tmp_path / "order").read_text().splitlines()
    assert set(order[2:]) == {"start left", "start right"}


@pytest.mark.parametrize(("lines", "status"), [(101, "succeeded"), (100, "skipped")])
def test_conditional(three_devices: Cluster, tmp_path: Path, lines: int, status: str) -> None:
    """A long log is rotated, a short one is left alone."""
    (tmp_path / "service.log").write_text("line\n" * lines)
    report = run(three_devices, "conditional", workdir=str(tmp_path))
    assert report["status"] == "completed"
    assert [report["actions"][name]["status"] for name in ("rotate", "begin")] == [status, status]
    assert (tmp_path / "service.log.1").exists() is (status == "succeeded")


def test_fallback(three_devices: Cluster, tmp_path: Path) -> None:
    """The fresh settings are missing: yesterday's are taken, and the result says that it is degraded."""
    (tmp_path / "settings.yesterday").write_text("old")
    report = run(three_devices, "fallback", workdir=str(tmp_path))
    assert (report["status"], report["degraded"]) == ("completed", True)
    assert report["actions"]["settings"]["attempts"] == 2
    assert (tmp_path / "settings").read_text() == "old"


@pytest.mark.parametrize(("missing", "status"), [(["wiki"], "completed"), (["wiki", "mail"], "failed")])
def test_continue(three_devices: Cluster, tmp_path: Path, missing: list[str], status: str) -> None:
    """One failure is borne and told, a second is not."""
    for name in {"mail", "wiki", "tickets"} - set(missing):
        (tmp_path / name).write_text(name)
    report = run(three_devices, "continue", workdir=str(tmp_path))
    assert report["status"] == status
    assert report["degraded"] is (status == "completed")
    assert report["actions"]["wiki"]["status"] == "failed"


class WebService:
    """Answers 200 while the configuration that it has read names a pool of 8, and 503 otherwise."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._pool = 0
        self.reload()
        self.server = Server()
        self.server.answers = self.answer

    def reload(self) -> None:
        self._pool = json.loads(self._config.read_text())["backend"]["pool"]

    def answer(self, handler: BaseHTTPRequestHandler, _count: int) -> None:
        if handler.path == "/reload":
            self.reload()
        healthy = self._pool == 8
        reply(handler, 200 if healthy or handler.path == "/reload" else 503, b"ok" if healthy else b"no pool")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[WebService]:
    (tmp_path / "site.json").write_text('{"backend": {"pool": 0}}\n')
    made = WebService(tmp_path / "site.json")
    try:
        yield made
    finally:
        made.server.stop()


def test_web_recovery(three_devices: Cluster, tmp_path: Path, service: WebService) -> None:
    """The configuration is put right, and the service answers."""
    report = run(three_devices, "web-recovery", config=str(tmp_path / "site.json"), url=service.server.url)
    assert report["status"] == "completed", report["error"]
    assert json.loads((tmp_path / "site.json").read_text()) == {"backend": {"pool": 8}}


def test_web_recovery_that_fails_is_taken_back(three_devices: Cluster, tmp_path: Path, service: WebService) -> None:
    """The service never gets well: its file is as it was, byte for byte, and it has read it again."""
    answer, reloads = service.answer, []

    def never_well(handler: BaseHTTPRequestHandler, count: int) -> None:
        if handler.path == "/reload":
            reloads.append((tmp_path / "site.json").read_text())
            answer(handler, count)
        else:
            reply(handler, 503, b"out of order")

    service.server.answers = never_well
    document = load_file(FOLDER / "web-recovery.yaml").data
    document["actions"][-1]["with"]["within"] = "300ms"
    document["defaults"]["retry"] = "none"
    report = three_devices.run(document, config=str(tmp_path / "site.json"), url=service.server.url)
    assert report["status"] == "failed"
    assert report["rollback"]["status"] == "completed"
    assert (tmp_path / "site.json").read_text() == '{"backend": {"pool": 0}}\n'
    assert reloads[-1] == '{"backend": {"pool": 0}}\n'


def test_python_actions(three_devices: Cluster, tmp_path: Path) -> None:
    """What a function returned is read by the next action."""
    report = run(three_devices, "python-actions", workdir=str(tmp_path))
    assert report["status"] == "completed"
    assert contents(tmp_path) == {"ticket": "number 7"}


def web_servers(folder: Path, port: int) -> None:
    for number in (1, 2, 3):
        (folder / f"edge-{number}").mkdir()
        (folder / f"edge-{number}" / "site.conf").write_text(f"port={port}\n")


def test_fleet(three_devices: Cluster, tmp_path: Path) -> None:
    """Every device has its file edited and its service restarted, and one tells of it."""
    web_servers(tmp_path, 80)
    report = run(three_devices, "fleet", workdir=str(tmp_path))
    assert report["status"] == "completed", report["error"]
    on_each = {f"edge-{n}/site.conf": "port=8080\n" for n in (1, 2, 3)}
    on_each |= {f"edge-{n}/service.log": "restarted\n" for n in (1, 2, 3)}
    assert contents(tmp_path) == {**on_each, "told.log": "succeeded\n"}
    assert {name: one["device"] for name, one in report["actions"].items()} == {
        **{f"{name}@edge-{n}": f"edge-{n}" for name in ("configure", "restart") for n in (1, 2, 3)}, "tell": "edge-1",
    }  # fmt: skip


def test_fleet_that_fails_is_taken_back_on_every_device(three_devices: Cluster, tmp_path: Path) -> None:
    """On one there was nothing to change: each undoes its own."""
    web_servers(tmp_path, 80)
    (tmp_path / "edge-2" / "site.conf").write_text("port=8080\n")
    report = run(three_devices, "fleet", workdir=str(tmp_path))
    assert (report["status"], report["rollback"]["status"]) == ("failed", "completed")
    where = {(one["action"], one["device"]) for one in report["rollback"]["compensated"]}
    assert {(f"restart@edge-{n}", f"edge-{n}") for n in (1, 2, 3)} < where
    assert (tmp_path / "edge-1" / "site.conf").read_text() == "port=80\n"
    assert (tmp_path / "edge-3" / "service.log").read_text().endswith("restarted with the old configuration\n")


def test_placement(three_devices: Cluster, tmp_path: Path) -> None:
    """Built where the compiler is, copied beside it."""
    report = run(three_devices, "placement", workdir=str(tmp_path))
    assert report["status"] == "completed", report["error"]
    device = report["actions"]["build"]["device"]
    assert device in ("edge-2", "edge-3")
    assert report["actions"]["copy"]["device"] == device
    assert contents(tmp_path) == {"artefact": "built\n", "copy": "built\n"}
