"""A cluster of a run's own: started by `rex run` where no address is configured, and ended with it."""

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Self

from executor.cli.connecting import Cluster
from executor.cli.earlier import KEEP, how_to_go_on, mark_told, mark_unfinished
from executor.cli.output import note
from executor.model.errors import Unreachable

START_S = 60.0
_END_S = 10.0


class EmbeddedCluster:
    """Server, coordinator and workers in a private directory.

    Its processes end when this one does, however that ends: they hold the other end of a pipe.
    """

    def __init__(self, devices: Sequence[str], *, concurrency: int, state_dir: Path, config_file: Path | None) -> None:
        self._devices = devices
        self._concurrency = concurrency
        self._config_file = config_file
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self.folder = _private_folder(state_dir)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def launch(self) -> None:
        """Start the processes; `address` waits for them."""
        environ = dict(os.environ)
        if self._config_file is not None:
            environ["REX_CONFIG"] = str(self._config_file.expanduser().absolute())
        argv = [sys.executable, "-P", "-m", "workers.cluster", "up", "--private", str(self.folder)]
        argv += ["--concurrency", str(self._concurrency)]
        for device in self._devices:
            argv += ["--device", device]
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`
        self._process = subprocess.Popen(
            argv, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, start_new_session=True
        )

    def address(self) -> Cluster:
        """Wait until every worker is registered.

        Raises:
            Unreachable: it could not be started.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        text, until = b"", time.monotonic() + START_S
        while not text.endswith(b"\n"):
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))
            block = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            if not block:
                raise Unreachable(self._trouble("in time" if not ready else ""))
            text += block
        url = json.loads(text)["broker_url"]
        return Cluster(url, url)

    def keep(self, why: str) -> None:
        """Leave the directory where it is when the cluster ends: what lies in it is still needed."""
        (self.folder / KEEP).write_text(why + "\n", encoding="utf-8")

    def keep_unfinished(self) -> None:
        """Leave it, with how its execution goes on, until `release`: we may be killed."""
        mark_unfinished(self.folder, self._devices)

    def left_unfinished(self) -> str:
        """The command that goes on with it, for somebody who is told now."""
        mark_told(self.folder)
        return how_to_go_on(self.folder, self._devices)

    @property
    def has_saved_bytes(self) -> bool:
        """Whether any action saved what was there before it."""
        return any(path.is_file() for path in (self.folder / "saved").rglob("*"))

    def release(self) -> None:
        """The directory is needed no more."""
        (self.folder / KEEP).unlink(missing_ok=True)

    def stop(self) -> None:
        """End everything at once."""
        if self._process is None:
            with contextlib.suppress(OSError):
                self.folder.rmdir()
            return
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdout, self._said):
            if stream is not None:
                stream.close()
        self._process = None

    def _trouble(self, when: str) -> str:
        assert self._said is not None
        self.stop_reading()
        self._said.seek(0)
        told = self._said.read().decode(errors="replace").strip().splitlines()
        last = told[-1].removeprefix("rex: ") if told else "it says nothing"
        return f"the embedded cluster does not start{' ' + when if when else ''}: {last}"

    def stop_reading(self) -> None:
        """Let the processes end, so that all they have to say is there."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)


def _private_folder(state_dir: Path) -> Path:
    # beside the state of this device, not among temporary files: saved bytes must outlive a power cut
    runs = state_dir / "runs"
    try:
        runs.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="", dir=runs))
    except OSError as error:
        made = Path(tempfile.mkdtemp(prefix="rex-"))
        note(f"warning: {runs} cannot be used ({error.strerror}), so this run keeps its state in {made}, which may not "
             "outlive a restart of this machine; set REX_STATE_DIR to a directory that can be written")  # fmt: skip
        return made
