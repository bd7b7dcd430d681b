"""The command `rex` as a process, and the processes that it starts."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from support.waiting import wait_until

REX = Path(sys.executable).parent / "rex"


class Rex:
    """Calls of `rex` from one folder, with a state directory of its own and nothing configured."""

    def __init__(self, folder: Path, **environment: str) -> None:
        """`environment`: what all its calls have, unless a call says otherwise."""
        self.folder = folder
        self._environment = environment
        self.state = folder / "state"
        self.work = folder / "work"
        self.work.mkdir()
        self._started: list[subprocess.Popen[str]] = []

    def environment(self, **more: str) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("REX_")}
        return {**own, "HOME": str(self.folder), "REX_STATE_DIR": str(self.state), **self._environment, **more}

    def write(self, name: str, text: str) -> Path:
        path = self.work / name
        path.write_text(text)
        return path

    def __call__(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            [REX, *map(str, arguments)], cwd=self.work, env=self.environment(**environment), text=True,
            capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False,
        )  # fmt: skip

    def json(self, *arguments: object, **environment: str) -> Any:
        """What it prints as JSON."""
        return json.loads(self(*arguments, "--json", **environment).stdout)

    def start(self, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        """Start it; it is ended with the test."""
        process = subprocess.Popen(
            [REX, *map(str, arguments)], cwd=self.work, env=self.environment(**environment), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._started.append(process)
        return process

    @contextmanager
    def up(self, *arguments: object, **environment: str) -> Iterator[dict[str, Any]]:
        """A cluster while the block runs; gives what it announced."""
        process = self.start("up", *arguments, "--json", **environment)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate(timeout=30)[1]
        yield json.loads(line)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        wait_until(lambda: not self.processes(), description="nothing is left running")

    def processes(self) -> list[int]:
        """Ids of all processes that were started for our state directory."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("REX_STATE_DIR", "").startswith(str(self.state)) or any(
                    str(self.state) in part for part in process.cmdline()
                ):
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found
