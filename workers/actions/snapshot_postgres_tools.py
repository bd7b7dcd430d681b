"""PostgreSQL's own programs, run under supervision: psql for questions and scripts, pg_dump for the bytes."""

import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executor.action import Run
from executor.model.errors import (
    CONFIGURATION,
    NETWORK,
    PERMANENT,
    RESOURCE,
    TRANSIENT,
    ActionError,
    Classification,
)
from workers.actions.processes import Finished, inherited_environment, run_process

_DEBIAN = "/usr/lib/postgresql/*/bin"
_BLOCK = 1 << 18
_ANSWER_BYTES = 4 << 20
_STATES: tuple[tuple[str, str, Classification], ...] = (
    ("55P03", "others hold a lock; stop them, or give a longer lock_timeout", TRANSIENT),
    ("40", "another transaction was in the way", TRANSIENT),
    ("2BP01", "something that was not saved depends on it: remove that, or save the whole database", PERMANENT),
    ("42501", "the user may not do that: use the owner of the database, or a superuser", CONFIGURATION),
    ("53", "the server has no more room for that", RESOURCE),
    ("57", "the server ended the connection", NETWORK),
    ("08", "the connection was lost", NETWORK),
)
"""Beginnings of SQLSTATE, what to do about it, and whether another attempt can help."""
_REFUSED = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry", "SSL")


@dataclass(frozen=True)
class Connection:
    """How the programs reach the database."""

    environment: Mapping[str, str] = field(repr=False)
    arguments: tuple[str, ...]
    shown: str
    """What errors call it."""


def tool(name: str) -> str:
    """The path of one of PostgreSQL's programs on this device.

    Raises:
        ActionError: it is not installed.
    """
    found = shutil.which(name)
    if found is None:
        places = sorted(Path("/").glob(f"{_DEBIAN[1:]}/{name}"), key=lambda path: int(path.parts[4]), reverse=True)
        found = str(places[0]) if places else None
    if found is None:
        raise ActionError(
            f"{name} is not on the PATH of the worker: install PostgreSQL's client programs there (Debian: "
            "apt install postgresql-client)",
            CONFIGURATION,
        )
    return found


def client_environment(more: Mapping[str, str]) -> dict[str, str]:
    """The worker's environment without what would lead libpq elsewhere, and `more`."""
    kept = {k: v for k, v in inherited_environment().items() if not k.startswith("PG") or k.startswith("PGSSL")}
    return kept | {"LC_ALL": "C.UTF-8", "PGCONNECT_TIMEOUT": "10", "PGAPPNAME": "rex"} | dict(more)


def ask(run: Run, connection: Connection, script: str) -> Any:
    """The JSON value that `script` selects.

    Raises:
        ActionError: the server cannot be reached, or refuses it.
    """
    argv = [tool("psql"), *_quiet(connection), "--file=-"]
    finished = _supervised(run, connection, argv, stdin=script.encode(), keep=_ANSWER_BYTES)
    _refuse_failed(run, connection, "psql", finished)
    return json.loads(finished.text)


def major_version(run: Run, connection: Connection, name: str) -> int:
    """The major version of one of the programs.

    Raises:
        ActionError: it does not say.
    """
    finished = _supervised(run, connection, [tool(name), "--version"])
    found = re.search(r"\) (\d+)", finished.text)
    if finished.exit_code or not found:
        raise ActionError(f"{name} does not tell its version: {finished.text or finished.error_text}", CONFIGURATION)
    return int(found[1])


def dump(run: Run, connection: Connection, arguments: Sequence[str], take: Callable[[bytes], None]) -> None:
    """Give what pg_dump writes to `take`, while it writes.

    Raises:
        ActionError: pg_dump failed, the deadline passed, or `take` raised it.
    """
    reader, writer = os.pipe()
    argv = [tool("pg_dump"), *connection.arguments, "--no-password", f"--file=/dev/fd/{writer}", *arguments]
    with _Beside(run, connection, argv, inherits=writer) as beside, os.fdopen(reader, "rb") as source:
        while block := source.read(_BLOCK):
            take(block)
        _refuse_failed(run, connection, "pg_dump", beside.finished())


def execute(run: Run, connection: Connection, script: Iterable[bytes]) -> None:
    """Let psql run `script`, and stop at the first error. The script itself begins and commits.

    psql's ``--single-transaction`` would commit what it has read when the worker dies and the script ends early.

    Raises:
        ActionError: the server refused something, or the deadline passed.
    """
    reader, writer = os.pipe()
    argv = [tool("psql"), *_quiet(connection), "--output=/dev/null", f"--file=/dev/fd/{reader}"]
    with _Beside(run, connection, argv, inherits=reader) as beside:
        try:
            with os.fdopen(writer, "wb") as sink:
                for block in script:
                    sink.write(block)
                    sink.flush()
        except BrokenPipeError:
            pass  # it has ended: why, it says itself
        _refuse_failed(run, connection, "psql", beside.finished())


class _Beside:
    """A program that runs in a thread, and ends with the block; it inherits one end of a pipe, closed when it ended."""

    def __init__(self, run: Run, connection: Connection, argv: Sequence[str], *, inherits: int) -> None:
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._job: Future[Finished] = self._pool.submit(self._work, run, connection, argv, inherits)

    def _work(self, run: Run, connection: Connection, argv: Sequence[str], inherits: int) -> Finished:
        try:
            return _supervised(run, connection, argv, inherits=inherits, stop=self._stop.is_set)
        finally:
            os.close(inherits)

    def finished(self) -> Finished:
        """How it ended, once it has."""
        return self._job.result()

    def __enter__(self) -> "_Beside":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()


def _quiet(connection: Connection) -> list[str]:
    settings = [f"--set={setting}" for setting in ("ON_ERROR_STOP=1", "VERBOSITY=verbose")]
    return [*connection.arguments, "--no-psqlrc", "--no-password", "--quiet", "--no-align", "--tuples-only", *settings]


def _supervised(
    run: Run,
    connection: Connection,
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    keep: int = 65536,
    inherits: int | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Finished:
    return run_process(
        argv,
        name=Path(argv[0]).name,
        env=connection.environment,
        stdin=stdin,
        remaining_s=run.remaining_s,
        cancelled=lambda: stop() or run.cancelled(),
        keep=keep,
        keep_tree_on=(),
        pass_fds=() if inherits is None else (inherits,),
    )


def _refuse_failed(run: Run, connection: Connection, name: str, finished: Finished) -> None:
    if finished.exit_code == 0:
        return
    words = run.mask(finished.error_text or finished.last_words.decode("utf-8", "replace"))
    words = "\n".join(line for line in words.splitlines() if not line.startswith("LOCATION:")).strip()
    advice, kind = _judge(words)
    raise ActionError(
        f"{name} for {connection.shown} ended with {finished.exit_code}{advice}: {words[-2000:]}; nothing was changed",
        kind,
    )


def _judge(words: str) -> tuple[str, Classification]:
    found = re.search(r"(?:ERROR|FATAL):  ([0-9A-Z]{5}): ", words)
    if found:
        for begin, advice, kind in _STATES:
            if found[1].startswith(begin):
                return f" ({advice})", kind
        return "", PERMANENT
    if any(said in words for said in _REFUSED):
        return "", CONFIGURATION
    if "LOCK TABLE" in words and "timeout" in words:  # pg_dump shows no SQLSTATE
        return f" ({_STATES[0][1]})", TRANSIENT
    return ("", NETWORK) if "connection" in words else ("", TRANSIENT)
