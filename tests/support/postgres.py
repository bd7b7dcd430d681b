"""A real PostgreSQL server for tests: on a unix socket, in a private folder, gone with the process that started it."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from support.waiting import wait_until


def require_postgres() -> Path:
    """The folder of the server's programs; without them tests skip at home, and fail in continuous integration."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    initdb = shutil.which("initdb") or (str(found[-1]) if found else None)
    if initdb is None:
        reason = "no PostgreSQL server is installed: apt install postgresql postgresql-client"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return Path(initdb).resolve().parent


class PostgresServer:
    """Owned by the superuser `rex`, who has a password."""

    def __init__(self) -> None:
        self.programs = require_postgres()
        self.folder = Path(tempfile.mkdtemp(prefix="rex-pg-"))
        self.password = secrets.token_hex(12)
        self.host = str(self.folder)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "PostgresServer":
        passwords = self.folder / "password"
        passwords.write_text(self.password)
        if os.geteuid() == 0:
            self.folder.chmod(0o711)  # clients of other users may reach the socket
            for path in (self.folder, passwords):
                shutil.chown(path, *self._user())
        subprocess.run(
            [
                *self._as_user(), str(self.programs / "initdb"), "--pgdata", str(self.folder / "data"),
                "--username=rex", "--auth=scram-sha-256", f"--pwfile={passwords}",
                "--encoding=UTF8", "--locale=C", "--no-sync",
            ],
            cwd="/", check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._as_user(), str(self.programs / "postgres"), "-D", str(self.folder / "data"),
                    "-c", "listen_addresses=", "-c", f"unix_socket_directories={self.folder}", "-c", "fsync=off",
                ],
                cwd="/", stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_until(self._answers, description=f"PostgreSQL in {self.folder} answers")
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
        shutil.rmtree(self.folder)

    def sql(self, script: str, database: str = "postgres") -> str:
        """What psql prints of `script`."""
        done = self.call("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-f", "-", database, stdin=script)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def content(self, database: str) -> str:
        """All of the database, as text that two equal ones share."""
        done = self.call("pg_dump", database)
        assert done.returncode == 0, done.stderr
        # the word behind \restrict is another one in each dump
        return "\n".join(
            line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))
        )

    def call(self, program: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.programs / program), *arguments], input=stdin, env=self.environment(), text=True,
            capture_output=True, check=False,
        )  # fmt: skip

    def environment(self) -> dict[str, str]:
        own = {
            "PGHOST": self.host,
            "PGUSER": "rex",
            "PGPASSWORD": self.password,
            "PGOPTIONS": "-c client_min_messages=warning",
        }
        return dict(os.environ) | own

    def _answers(self) -> bool:
        return self.call("psql", "-XqAt", "-c", "SELECT 1", "postgres").stdout == "1\n"

    @staticmethod
    def _user() -> tuple[int, int]:
        """The server refuses to be root."""
        try:
            found = pwd.getpwnam("postgres")
        except KeyError:
            found = pwd.getpwnam("nobody")
        return found.pw_uid, found.pw_gid

    def _as_user(self) -> list[str]:
        """It ends with us, however we end."""
        if os.geteuid() != 0:
            return ["setpriv", "--pdeathsig=QUIT"]
        uid, gid = self._user()
        return ["setpriv", "--pdeathsig=QUIT", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
