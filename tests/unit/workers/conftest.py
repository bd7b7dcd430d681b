"""The worlds of `support.worlds` as fixtures."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.worlds import ROOT, Bench, FileBench, Server, Tree, is_alive


@pytest.fixture
def bench() -> Bench:
    return FileBench()


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Write a module that child processes can import through PYTHONPATH; its name."""
    folder = tmp_path / "importable"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))

    def write(name: str, source: str) -> str:
        (folder / f"{name}.py").write_text(source)
        return name

    return write


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    made = Tree(tmp_path)
    yield made
    for pid in made.pids():
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def start_worker(tree: Tree) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start a process that runs the tree's command as a worker does, to be killed or stopped."""
    source = (
        "import sys\nfrom workers.actions.processes import run_process\n"
        "run_process(['sh', '-c', sys.argv[1]], remaining_s=lambda: 60.0)\n"
    )
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", source, tree.command], cwd=ROOT)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
