"""``snapshot.postgres``: saves a PostgreSQL database, or some of its tables, and puts them back in one transaction."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, Field, StringConstraints

from executor.action import Json, Run, Snapshot, Undo
from executor.model.durations import Duration
from executor.model.errors import CONFIGURATION, ActionError
from executor.model.strategy import Model
from executor.snapshot import SnapshotType
from workers.actions import saved_stream
from workers.actions.snapshot_postgres_tools import (
    Connection,
    ask,
    client_environment,
    dump,
    execute,
    major_version,
)

Table = Annotated[str, StringConstraints(pattern=r'^[^."\x00]+\.[^."\x00]+$')]
_PARTS = ("host", "port", "user", "database", "sslmode")
_HEADER_BYTES = 4096
"""Within this much of a dump pg_dump sets the session up."""


class Postgres(SnapshotType):
    """Save a PostgreSQL database, or named tables, with pg_dump.

    Restoring is one transaction: it removes, and creates again. Killed anywhere, nothing has happened. Of a database
    everything in it is put back, and what was created since is removed: schemas, tables, functions, extensions,
    publications. Left alone is what does not lie in it: roles, settings made by ALTER DATABASE, default privileges
    without a schema. Of named tables: rows, columns, indexes, constraints, triggers, rights and the sequences that they
    own; a foreign key, view or partition that is not named and needs one of them is refused. As a whole a database with
    large objects or subscriptions is refused. PostgreSQL keeps no time of changes: long after the run it is restored
    only by force.
    """

    uses = "snapshot.postgres"

    class Parameters(Model):
        url: str | None = Field(None, description="postgresql://user@host:5432/database, without a password")
        host: str | None = Field(None, description="Name, address, or the directory of the unix socket")
        port: Annotated[int, Field(ge=1, le=65535)] | None = Field(None, description="Default: 5432")
        user: str | None = Field(None, description="Who connects: the owner of what is restored, or a superuser")
        database: str | None = Field(None, description="Name of the database")
        sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = Field(
            None, description="As libpq knows it"
        )
        password: str | None = Field(None, description="A secret: secret://env/NAME")
        tables: Annotated[list[Table], Field(min_length=1)] | None = Field(
            None, description="`schema.table`, as they are written in the catalogue; default: the whole database"
        )
        lock_timeout: Duration = Field(timedelta(seconds=5), description="How long to wait for the locks of others")

    class Results(BaseModel):
        database: str = Field(description="Its name, as the server says it")
        tables: list[str] | None = Field(description="Null: the whole database")
        bytes: int = Field(description="Size of what was saved")
        server_version: int = Field(description="Its major version")

    def problems(self, parameters: Json) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        url, password = parameters.get("url"), parameters.get("password")
        if url is None and parameters.get("database") is None:
            found.append(("", "needs one of url and database"))
        for name in _PARTS:
            if url is not None and parameters.get(name) is not None:
                found.append((name, "takes only one of url and its parts"))
        if isinstance(url, str) and not url.startswith("${{"):
            found += [("url", said) for said in _url_problems(url)]
        if isinstance(password, str) and not password.startswith(("secret://", "${{")):
            found.append(("password", "a password is named, never written: secret://env/NAME"))
        return found

    def take(self, run: Run) -> Snapshot:
        given = run.parameters
        connection = _connection(self, run, given)
        tables: list[str] | None = given.tables
        found = ask(run, connection, _settings(tables) + _sql("look"))
        _refuse_unfit(run, connection, tables, found)
        arguments = ["--format=plain", f"--lock-wait-timeout={_milliseconds(given)}", "--no-subscriptions"]
        if tables is not None:
            arguments += ["--strict-names", *(f"--table={_pattern(name)}" for name in tables)]
        with run.saved.batch() as batch:
            stream = saved_stream.SavingStream(run, batch)
            dump(run, connection, arguments, stream.write)
            content = stream.end()
        version = found["version"] // 10000
        summary = {
            "database": found["database"],
            "tables": tables,
            "bytes": content["bytes"],
            "server_version": version,
        }
        data = {"format": 1, "content": content, "public": found["public"], "summary": summary}
        data["parameters"] = given.model_dump(mode="json", exclude_none=True)
        target = f"{connection.shown}/{found['database']}"
        return Snapshot(data, target, (f"postgres:{target}",))

    def restore(self, run: Run, data: Json, undo: Undo) -> Json:
        shown = f"the database {data['summary']['database']}"
        names = saved_stream.whole(run, data["content"], shown)
        given = self.Parameters.model_validate(data["parameters"])  # where it came from, whatever is given now
        connection = _connection(self, run, given)
        if undo.quiet is not None and not undo.force:
            raise saved_stream.refuse_unknown_changes(shown)
        run.proceed()
        execute(run, connection, _script(run, given, data, names))
        return dict(data["summary"])


def _url_problems(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        password = parts.password is not None or "password" in parse_qs(parts.query)
        name = parts.path.strip("/")
    except ValueError as error:
        yield f"{error}"
        return
    if parts.scheme not in ("postgresql", "postgres") or not name:
        yield "is no postgresql://user@host:5432/database"
    elif password:
        yield "a password shows in the process list: give it by `password`"


def _connection(kind: Postgres, run: Run, p: Postgres.Parameters) -> Connection:
    problems = kind.problems({name: getattr(p, name) for name in ("url", "password", *_PARTS)})
    if problems:
        raise ActionError("; ".join(f"{path} {said}".strip() for path, said in problems), CONFIGURATION)
    variables = {"PGHOST": p.host, "PGPORT": p.port, "PGUSER": p.user, "PGDATABASE": p.database, "PGSSLMODE": p.sslmode}
    if p.password is not None:
        variables["PGPASSWORD"] = run.secret(p.password)
    environment = client_environment({name: str(value) for name, value in variables.items() if value is not None})
    if p.url is not None:
        parts = urlsplit(p.url)
        where = f"{parts.hostname or 'the local server'}:{parts.port or 5432}"
        return Connection(environment, (f"--dbname={p.url}",), where)
    return Connection(environment, (), f"{p.host or 'the local server'}:{p.port or 5432}")


def _refuse_unfit(run: Run, connection: Connection, tables: list[str] | None, found: dict[str, Any]) -> None:
    """Raise for what could not be saved, or not be restored later."""
    where = f"the database {found['database']} on {connection.shown}"
    for name in ("pg_dump", "psql"):
        version = major_version(run, connection, name)
        if version < found["version"] // 10000:
            raise ActionError(
                f"{where} is of version {found['version'] // 10000}, and {name} on this device of {version}: install "
                "client programs that are not older than the server",
                CONFIGURATION,
            )
    reasons = [
        (found["missing"], "has no table {}: names are written schema.table, as in the catalogue"),
        (found["no_tables"], "{} is no table: of views and sequences save the whole database"),
        (found["standby"], "is a standby and cannot be restored to: name the primary"),
        (found["dependents"], "not named, but depending on what is: {}. Name it too, or save the whole database"),
        (found["foreign"], "the user owns not all of it, and could not restore it: {}. Use the owner, or a superuser"),
    ]
    if tables is None:
        reasons += [
            (found["large_objects"], "holds {} large objects, which cannot be saved: name tables, or dump it yourself"),
            (found["subscriptions"], "has {} subscriptions, which no transaction can restore: name tables"),
            (
                not found["owner"],
                "can be restored as a whole only by its owner or a superuser: use one, or name tables",
            ),
        ]
    for there, said in reasons:
        if there:
            listed = ", ".join(there[:10]) if isinstance(there, list) else there
            raise ActionError(f"{where}: {said.format(listed)}", CONFIGURATION)


def _script(run: Run, given: Postgres.Parameters, data: Json, names: list[str]) -> Iterator[bytes]:
    """All of the restore, in one transaction: without its last line nothing of it counts."""
    timeout = f"SET lock_timeout = {_milliseconds(given)};"
    tables = given.tables
    yield f"BEGIN;\nSET client_min_messages = warning;\n{timeout}\n".encode()
    yield _settings(tables, public=data["public"]).encode()
    yield _sql("clear_database" if tables is None else "clear_tables").encode()
    for number, piece in enumerate(saved_stream.pieces(run, names)):
        if number == 0:  # the dump resets it, and its foreign keys wait for others' locks too
            head = piece[:_HEADER_BYTES].replace(b"SET lock_timeout = 0;", timeout.encode(), 1)
            yield head + piece[_HEADER_BYTES:]
        else:
            yield piece
    run.proceed()
    yield b"\nCOMMIT;\n"


def _settings(tables: list[str] | None, *, public: bool = True) -> str:
    named = json.dumps([name.split(".") for name in tables or []]).replace("'", "''")
    return (
        "SET standard_conforming_strings = on;\n"
        f"SET rex.tables = '{named}';\nSET rex.public = '{'on' if public else 'off'}';\n"
    )


def _pattern(name: str) -> str:
    schema, table = name.split(".")
    return f'"{schema}"."{table}"'


def _milliseconds(given: Postgres.Parameters) -> int:
    return max(int(given.lock_timeout.total_seconds() * 1000), 1)


def _sql(name: str) -> str:
    return Path(__file__).with_name(f"snapshot_postgres_{name}.sql").read_text()
