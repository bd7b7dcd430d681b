"""Each strategy under examples/rollback, by `rex`: it fails at its end, and its mechanism takes it back."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.commands import Rex
from support.trees import described
from support.waiting import wait_until

from executor.catalogue import InstalledCatalogue
from executor.documents import load_file
from executor.validation import check

pytestmark = pytest.mark.cluster

FOLDER = Path(__file__).parents[2] / "examples" / "rollback"
FILES = sorted(FOLDER.glob("*.yaml"))
LONG_AGO_NS = 1_600_000_000_123_456_789

Tree = dict[str, Any]


@pytest.fixture
def rex(tmp_path: Path) -> Iterator[Rex]:
    made = Rex(tmp_path)
    yield made
    made.close()


def lay_out(root: Path, files: dict[str, str]) -> Tree:
    """Files with their contents, of a time long ago; gives what is there then."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    return tree(root)


def tree(root: Path) -> Tree:
    """All that lies below: of files mode, time and bytes, of links where they lead."""
    found: Tree = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(root))] = str(path.readlink())
        elif path.is_file():
            status = path.stat()
            found[str(path.relative_to(root))] = (oct(status.st_mode), status.st_mtime_ns, path.read_text())
        else:
            found[str(path.relative_to(root))] = "directory"
    return found


def texts(root: Path) -> dict[str, str]:
    return {name: told[2] for name, told in tree(root).items() if isinstance(told, tuple)}


def run(rex: Rex, name: str, root: Path, status: int, **inputs: object) -> Tree:
    """`rex run` with its exit status; the report."""
    given = [part for key, value in inputs.items() for part in ("--input", f"{key}={value}")]
    done = rex("run", FOLDER / f"{name}.yaml", "--input", f"workdir={root}", *given, "--json")
    assert done.returncode == status, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def taken_back(report: Tree) -> list[str]:
    return [one["action"] for one in report["rollback"]["compensated"]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "w"
    made.mkdir()
    return made


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_is_valid_and_named_like_its_file(file: Path) -> None:
    """No problem and no warning; a test of this module runs it, and the page beside it tells of it."""
    found = check(load_file(file), InstalledCatalogue())
    assert (found.problems, found.warnings) == ((), ())
    assert found.strategy is not None
    assert found.strategy.name == file.stem
    assert f"\ndef test_{file.stem}(" in Path(__file__).read_text()
    assert f"({file.name})" in (FOLDER / "README.md").read_text()


def installed(root: Path) -> None:
    (root / "app").mkdir()
    (root / "app" / "current").symlink_to("lib/v1")
    lay_out(root, {"app/app.conf": "pool=8\n", "app/lib/v1/core": "old\n"})


def test_snapshot(rex: Rex, root: Path) -> None:
    """Commands that nobody can undo one by one: the tree is there again, with links, times and modes."""
    installed(root)
    before = described(root / "app")
    report = run(rex, "snapshot", root, 1)
    assert (report["rollback"]["status"], report["rollback"]["mechanism"]) == ("completed", "snapshot")
    assert [one["action"] for one in report["rollback"]["restored"]] == ["snapshot/1"]
    assert {report["actions"][name]["undo"] for name in ("unpack", "migrate-settings")} == {"compensated"}
    assert described(root / "app") == before


def test_snapshot_that_is_not_needed(rex: Rex, root: Path) -> None:
    """Where the check holds at the end, the new version stays."""
    installed(root)
    assert run(rex, "snapshot", root, 0, healthy="true")["rollback"]["status"] == "not_needed"
    assert texts(root) == {"app/app.conf": "pool_size=8\n", "app/lib/v2/core": "new\n"}


def test_compensating(rex: Rex, root: Path) -> None:
    """Every step by its own way back, newest first."""
    before = lay_out(root, {"service.conf": "host=a\nport=80\n"})
    report = run(rex, "compensating", root, 1)
    assert taken_back(report) == ["register", "restart", "configure"]
    assert report["rollback"]["remaining"] == []
    assert tree(root) == before


def test_partial(rex: Rex, root: Path) -> None:
    """The setting is as it was; the diagnosis is kept, the cache stays empty."""
    before = lay_out(root, {"service.conf": "threads=8\n", "service.log": "it hung\n", "cache/a": "1"})
    report = run(rex, "partial", root, 1)
    assert (report["rollback"]["status"], taken_back(report)) == ("completed", ["note-it", "fewer-threads"])
    assert report["rollback"]["kept"] == ["collect"]
    assert {name: one["undo"] for name, one in report["actions"].items()} == {
        "collect": "kept", "clear-cache": "none", "fewer-threads": "compensated", "note-it": "compensated",
        "healthy": None,
    }  # fmt: skip
    assert tree(root)["service.conf"] == before["service.conf"]
    assert texts(root) == {
        "service.conf": "threads=8\n", "service.log": "it hung\n", "diagnosis/service.log": "it hung\n",
    }  # fmt: skip


def test_phased(rex: Rex, root: Path) -> None:
    """Both phases are taken back, and the probe is asked after each."""
    before = lay_out(root, {"shard-1": "old\n", "shard-2": "old\n"})
    report = run(rex, "phased", root, 1)
    assert (report["rollback"]["status"], report["rollback"]["mechanism"]) == ("completed", "phased")
    assert [set(taken_back(report)[:2]), set(taken_back(report)[2:])] == [
        {"convert-1", "convert-2"}, {"close-1", "close-2"},
    ]  # fmt: skip
    assert tree(root) == before


def test_phased_that_halts(rex: Rex, root: Path) -> None:
    """The probe does not hold after the first phase of the way back: the readers stay shut out, and it is said why."""
    lay_out(root, {"shard-1": "old\n", "shard-2": "old\n"})
    report = run(rex, "phased", root, 3, consistent="false")
    assert report["rollback"]["status"] == "failed"
    assert set(taken_back(report)) == {"convert-1", "convert-2"}
    left = {one["action"]: one["reason"] for one in report["rollback"]["remaining"]}
    assert {"close-1", "close-2"} <= set(left)
    assert "ended before its turn" in left["close-1"]
    assert texts(root) == {"closed-1": "closed", "closed-2": "closed", "shard-1": "old\n", "shard-2": "old\n"}


def test_distributed(rex: Rex, root: Path) -> None:
    """Each site undoes its own, the newest first."""
    before = lay_out(root, {"north/key": "old", "south/key": "old"})
    report = run(rex, "distributed", root, 1)
    where = {one["action"]: one["device"] for one in report["rollback"]["compensated"]}
    assert where == {name: f"site-{name.removeprefix('reload-')}" for name in where}
    assert [set(taken_back(report)[:2]), set(taken_back(report)[2:])] == [
        {"reload-north", "reload-south"}, {"north", "south"},
    ]  # fmt: skip
    logs = {name: text for name, text in texts(root).items() if name.endswith("log")}
    assert logs == {f"{one}/log": f"loaded on site-{one}\nunloaded on site-{one}\n" for one in ("north", "south")}
    keys = {name: told for name, told in tree(root).items() if not name.endswith("log")}
    assert {name: told for name, told in keys.items() if name.endswith("key")} == {
        name: told for name, told in before.items() if name.endswith("key")
    }


def test_agent(rex: Rex, root: Path) -> None:
    """The coder undoes what the coder did, the tester the test."""
    lay_out(root, {"service.py": "timeout=1\n"})
    report = run(rex, "agent", root, 1)
    where = [(one["action"], one["device"]) for one in report["rollback"]["compensated"]]
    assert where == [("cover", "tester"), ("announce", "coder"), ("repair", "coder")]
    assert texts(root) == {"service.py": "timeout=1\n", "reviews": "coder asks for a review\ncoder withdraws\n"}


def offered(rex: Rex, root: Path) -> tuple[str, Tree]:
    """Submit the guided one, and wait until it asks; its id, and what it offers."""
    execution = rex("submit", FOLDER / "guided.yaml", "--input", f"workdir={root}").stdout.split()[0]
    wait_until(
        lambda: "--choose" in rex.json("status", execution).get("waiting_for", ""), description="a person is asked"
    )
    return execution, rex.json("rollback", execution, "--choose")


def test_guided(rex: Rex, root: Path) -> None:
    """One is undone and one kept, as a person says; who it was stands in the report."""
    lay_out(root, {"certificate": "old\n"})
    with rex.up("--device", "web-1"):
        execution, offer = offered(rex, root)
        wishes = {name: one["wishes"] for name, one in offer["actions"].items()}
        assert wishes == {"fetch": ["undo", "keep"], "install": ["undo", "keep"], "reload": ["undo", "keep", "retry"]}
        done = rex("rollback", execution, "--choose", "install=undo", "fetch=keep", "--by", "ann", "--json")
        assert done.returncode == 0, done.stderr
        rollback = json.loads(done.stdout)["rollback"]
    assert (rollback["status"], rollback["kept"], rollback["chosen"]["by"]) == ("completed", ["fetch"], "ann")
    assert [one["action"] for one in rollback["compensated"]] == ["install"]
    assert texts(root) == {"certificate": "old\n", "certificate.new": "new\n"}


def test_guided_and_on(rex: Rex, root: Path) -> None:
    """The cause is mended, what had failed is tried again, and the execution reaches its goal."""
    lay_out(root, {"certificate": "old\n"})
    with rex.up("--device", "web-1"):
        execution, _ = offered(rex, root)
        (root / "approval").touch()
        done = rex("rollback", execution, "--choose", "reload=retry", "--json")
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
    assert (report["status"], report["rollback"]["status"]) == ("completed", "not_needed")
    assert texts(root)["served"] == "new\n"


@pytest.mark.parametrize(("tool", "mechanism"), [("true", "snapshot"), ("false", "compensate")])
def test_adaptive(rex: Rex, root: Path, tool: str, mechanism: str) -> None:
    """The snapshot where the tool ran, which compensation would leave; action by action where it did not."""
    before = lay_out(root, {"settings/service.conf": "threads=8\n"})
    report = run(rex, "adaptive", root, 1, tool=tool)
    rollback = report["rollback"]
    assert (rollback["status"], rollback["mechanism"], rollback["chosen"]["asked"]) == (
        "completed", mechanism, "adaptive",
    )  # fmt: skip
    said = "compensate would leave 1 undone" if tool == "true" else "compensate undoes action by action"
    assert any(reason.startswith(said) for reason in rollback["chosen"]["reasons"]), rollback["chosen"]
    assert tree(root) == before


def test_an_empty_list_of_actions_is_no_wish_for_all(rex: Rex) -> None:
    """A variable that is not set must not take everything back."""
    done = rex("rollback", "01M00000000000000000000000", "--actions", "")
    assert done.returncode == 2
    assert "--actions names no action" in done.stderr
