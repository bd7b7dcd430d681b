"""The package under examples/action-package is installed, used by a real worker, and taken back."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cluster import Cluster
from support.installing import ROOT, into_directory, run

from executor.documents import load_file

pytestmark = pytest.mark.cluster

PACKAGE = ROOT / "examples" / "action-package"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the package installed."""
    folder = tmp_path_factory.mktemp("site")
    into_directory(PACKAGE, folder)
    return folder / "site"


@pytest.fixture(scope="module")
def cluster(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose coordinator and worker have the package."""
    made = Cluster(tmp_path_factory.mktemp("t"), PYTHONPATH=str(site))
    made.coordinator()
    made.worker("edge-1")
    try:
        yield made.ready()
    finally:
        made.close()


@pytest.fixture
def box(tmp_path: Path) -> Path:
    (tmp_path / "7").write_text("repair the door")
    (tmp_path / "counter").write_text("41")
    return tmp_path


def contents(box: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in box.iterdir()}


def test_its_action_types_are_used(cluster: Cluster, box: Path) -> None:
    """The function and the class do their work, and their results are read by expressions."""
    document = load_file(PACKAGE / "tickets.yaml").data
    report = cluster.run(document, box=str(box), wanted="repair the door")
    assert report["status"] == "completed", report["error"]
    assert contents(box) == {"7.taken": "repair the door", "counter": "42"}


def test_they_take_themselves_back(cluster: Cluster, box: Path) -> None:
    """The strategy says nothing of a way back: the function's compensation and the class's snapshot do it."""
    before = contents(box)
    document = load_file(PACKAGE / "tickets.yaml").data
    report = cluster.run(document, box=str(box), wanted="paint the wall")
    assert report["status"] == "failed"
    assert [one["action"] for one in report["rollback"]["compensated"]] == ["count", "take"]
    assert report["rollback"]["remaining"] == []
    assert contents(box) == before


def test_the_commands_know_them(site: Path, tmp_path: Path) -> None:
    """`rex actions` lists what is installed; `rex validate` checks their parameters."""
    environ = {**os.environ, "PYTHONPATH": str(site)}
    rex = Path(sys.executable).parent / "rex"
    shown = run(rex, "actions", "tickets.take", "--json", env=environ, cwd=tmp_path)
    assert "Take a ticket out of the box" in json.dumps(json.loads(shown))
    assert run(rex, "validate", PACKAGE / "tickets.yaml", env=environ, cwd=tmp_path) == "ok\n"
