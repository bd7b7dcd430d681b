"""`rex run` with a cluster of its own: outcomes, statuses, interruption, and that nothing is left."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.commands import REX, Rex
from support.waiting import wait_until

pytestmark = pytest.mark.cluster

GOOD = """
name: good
inputs: {text: {type: string, default: hello}, times: {type: integer, default: 1}}
actions:
  - {id: make, uses: file.create, device: edge-1, with: {path: "WORK/a.txt", content: "${{ inputs.text }}"}}
  - {id: count, uses: assert, with: {that: "inputs.times == 2"}}
"""
BAD = """
name: bad
actions:
  - {id: make, uses: file.create, device: edge-1, with: {path: "WORK/b.txt", content: "new"}}
  - {id: edit, uses: file.edit, device: edge-2, with: {path: "WORK/old.txt", content: "changed"}}
  - {id: bare, uses: command, device: edge-1, with: {run: "true"}, compensate: BARE}
  - {id: boom, uses: command, device: edge-2, retry: none, with: {run: "echo oh no >&2; exit 3"}, compensate: none}
"""
SLOW = """
name: slow
actions:
  - {id: make, uses: file.create, device: edge-1, with: {path: "WORK/c.txt", content: "new"}}
  - {id: nap, uses: wait, device: edge-1, timeout: 60s, with: {for: 50s}}
"""


@pytest.fixture
def rex(tmp_path: Path) -> Iterator[Rex]:
    made = Rex(tmp_path)
    yield made
    made.close()


def written(rex: Rex, text: str, name: str = "s.yaml") -> Path:
    return rex.write(name, text.replace("WORK", str(rex.work)))


def test_a_strategy_is_carried_out_and_nothing_is_left(rex: Rex) -> None:
    """Status 0, lines of events, the file is there; no process and no directory stays."""
    file = written(rex, GOOD)
    done = rex("run", file, "--input", "text=hi", "--input", "times=2")
    assert done.returncode == 0, done.stderr
    assert "make started on edge-1 (attempt 1)" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("good completed")
    assert (rex.work / "a.txt").read_text() == "hi"
    assert rex.processes() == []
    assert list((rex.state / "runs").iterdir()) == []


def test_a_failure_is_taken_back(rex: Rex) -> None:
    """Status 1, one JSON object on standard output, the world as it was."""
    old = rex.write("old.txt", "old")
    old.chmod(0o640)
    done = rex("run", written(rex, BAD.replace("BARE", "none")), "--json")
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["status"] == "failed"
    assert report["rollback"]["status"] == "completed"
    assert [one["action"] for one in report["rollback"]["compensated"]] == ["edit", "make"]
    assert old.read_text() == "old"
    assert old.stat().st_mode & 0o777 == 0o640
    assert not (rex.work / "b.txt").exists()


def test_what_is_left_for_a_person_is_said(rex: Rex) -> None:
    """Status 3, and the list of what remains; saved bytes are kept."""
    rex.write("old.txt", "old")
    done = rex("run", written(rex, BAD.replace("BARE", "auto")))
    assert done.returncode == 3
    assert "left for a person:\n  bare on edge-1: command true: it was done, and no way back" in done.stdout
    kept = list((rex.state / "runs").glob("*/keep"))
    assert len(kept) == 1
    assert str(kept[0].parent) in done.stderr


def test_one_ctrl_c_takes_everything_back(rex: Rex) -> None:
    """Status 4, and nothing is left."""
    process = rex.start("run", written(rex, SLOW))
    wait_until((rex.work / "c.txt").exists, description="the first action is done")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 4, err
    assert "rollback completed" in out
    assert "Traceback" not in err
    assert not (rex.work / "c.txt").exists()
    assert list((rex.state / "runs").iterdir()) == []


@pytest.mark.parametrize("where", [">&-", ">/dev/full", "| true", ">&- 2>&- <&-"])
def test_output_that_nobody_takes(rex: Rex, where: str) -> None:
    """The run goes on to its end, with the status of its own; one note says that nothing is shown."""
    file = written(rex, GOOD.replace("inputs.times == 2", "true"))
    shell = ["bash", "-c", f'set -o pipefail; "$0" run "$1" {where}', REX, file]
    done = subprocess.run(
        shell, env=rex.environment(), cwd=rex.work, text=True, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1
    assert (rex.work / "a.txt").exists()
    assert list((rex.state / "runs").iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_take_back_too(rex: Rex, how: signal.Signals) -> None:
    """As Ctrl-C does, and by their own names; a SIGHUP beside another is no second wish."""
    process = rex.start("run", written(rex, SLOW))
    wait_until((rex.work / "c.txt").exists, description="the first action is done")
    process.send_signal(how)
    process.send_signal(signal.SIGHUP)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 4, err
    assert "cancelled: SIG" in out
    assert not (rex.work / "c.txt").exists()


def test_a_second_ctrl_c_leaves_what_can_go_on(rex: Rex) -> None:
    """Status 130; the processes end at once, and the named command ends what was begun."""
    process = rex.start("run", written(rex, SLOW.replace("wait,", "command,").replace("for: 50s", "run: sleep 50")))
    wait_until((rex.work / "c.txt").exists, description="the first action is done")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    if process.returncode == 4:  # the way back was faster than the second signal
        return
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "rex up --device edge-1" in err
    (kept,) = (rex.state / "runs").glob("*/keep")
    state = str(kept.parent)
    with rex.up("--device", "edge-1", REX_STATE_DIR=state):
        (execution,) = rex.json("list", REX_STATE_DIR=state)
        report = rex.json("result", execution["execution_id"], "--wait", "30s", REX_STATE_DIR=state)
    assert report["status"] == "cancelled"
    assert not (rex.work / "c.txt").exists()


def test_a_killed_run_leaves_no_process(rex: Rex) -> None:
    """SIGKILL of the command ends its whole cluster; the next command says once how it goes on."""
    process = rex.start("run", written(rex, SLOW))
    wait_until((rex.work / "c.txt").exists, description="the first action is done")
    assert len(rex.processes()) >= 4
    process.kill()
    process.communicate()
    wait_until(lambda: not rex.processes(), description="all processes have ended", timeout_s=10)
    (kept,) = (rex.state / "runs").glob("*/keep")
    assert f"REX_STATE_DIR={kept.parent} rex up --device edge-1" in rex("list").stderr
    assert str(kept.parent) not in rex("list").stderr


def test_a_console_shows_no_password(rex: Rex) -> None:
    """`rex up` says where its address is; the address itself stands in a file of its user alone."""
    process = rex.start("up", "--device", "edge-1")
    told = rex.state / "cluster.json"
    wait_until(told.exists, description="it is ready")
    password = (rex.state / "server" / "password").read_text().strip()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert str(told) in out
    assert password not in out + err


def test_a_state_directory_that_cannot_be_made(rex: Rex) -> None:
    """The run goes on among the temporary files, and says so."""
    rex.state.write_text("in the way")
    done = rex("run", written(rex, GOOD.replace("inputs.times == 2", "true")))
    assert done.returncode == 0, done.stderr
    assert f"warning: {rex.state / 'runs'} cannot be used" in done.stderr


def test_two_runs_in_one_folder(rex: Rex) -> None:
    """Each has a cluster of its own, and a `config.py` that lies there is not ours."""
    rex.write("config.py", "raise SystemExit('not ours')")
    (rex.work / "workers").mkdir()
    rex.write("workers/__init__.py", "raise SystemExit('not ours')")
    files = [
        written(rex, GOOD.replace("a.txt", f"{name}.txt").replace("inputs.times == 2", "true"), f"{name}.yaml")
        for name in ("one", "two")
    ]
    started = [rex.start("run", file) for file in files]
    for process in started:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert (rex.work / "one.txt").exists()
    assert (rex.work / "two.txt").exists()


def test_what_is_wrong_starts_nothing(rex: Rex) -> None:
    """Status 2, each problem with its place; no state directory is made."""
    file = rex.write(
        "s.yaml", "name: s\nactions:\n  - {id: a, uses: comand}\n  - {id: a, uses: wait, with: {for: 5}}\n"
    )
    done = rex("run", file)
    assert done.returncode == 2
    assert f"{file}:3:" in done.stderr
    assert f"{file}:4:" in done.stderr
    assert "Traceback" not in done.stderr
    assert not rex.state.exists()


def test_waiting_ends(rex: Rex) -> None:
    """Status 6, and how to go on."""
    done = rex("run", written(rex, SLOW), "--wait", "300ms")
    assert done.returncode == 6
    assert "REX_STATE_DIR=" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("how", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_while_it_starts(rex: Rex, how: signal.Signals, status: int) -> None:
    """Nothing was submitted: the status of the signal, not a word, and nothing is left."""
    process = rex.start("run", written(rex, SLOW))
    wait_until(lambda: len(rex.processes()) > 1, description="its cluster is being started")
    process.send_signal(how)
    _, err = process.communicate(timeout=30)
    assert process.returncode == status, err
    assert err == ""
    wait_until(lambda: not list((rex.state / "runs").iterdir()), description="the private directory is removed")


def test_a_server_that_dies_and_comes_back(rex: Rex) -> None:
    """The run that follows goes on following, and ends well."""
    file = written(rex, SLOW.replace("for: 50s", "for: 2s"))
    process = rex.start("run", file)
    wait_until((rex.work / "c.txt").exists, description="the first action is done")
    below = psutil.Process(process.pid).children(recursive=True)
    (server,) = [child for child in below if child.name() == "valkey-server"]
    server.kill()
    out, err = process.communicate(timeout=40)
    assert process.returncode == 0, out + err
