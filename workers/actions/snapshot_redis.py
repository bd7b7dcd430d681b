"""``snapshot.redis``: saves keys of a Redis or Valkey server by pattern, and puts exactly these back."""

import struct
from collections.abc import Iterable, Iterator
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, Field

from executor.action import Json, Run, Snapshot, Undo
from executor.model.errors import CONFIGURATION, PERMANENT, ActionError
from executor.model.strategy import Model
from executor.snapshot import SnapshotType
from workers.actions import saved_stream
from workers.actions.snapshot_redis_server import KeyValue, RedisServer

_HEADER = struct.Struct(">IQq")
"""Length of the name, length of the dump, expiry; then both follow. Names and dumps are any bytes."""
_SCHEMES = ("redis", "rediss", "unix")


class Redis(SnapshotType):
    """Save the keys that match some patterns, with their expiry, by DUMP.

    Each key is saved as it is at one moment, not all of them at the same: a key that others change while it is taken is
    saved before or after that. Restoring puts every key back with the time of expiry that it had, so one that
    would have expired by now stays gone, and removes the keys that match and were not there. Others can read in
    between. It needs a user who may SCAN, DUMP, RESTORE, PEXPIRETIME, MEMORY USAGE, INFO and UNLINK; no cluster; Redis
    from 7.0, or Valkey. Redis keeps no time of changes: long after the run it is restored only by force.
    """

    uses = "snapshot.redis"

    class Parameters(Model):
        url: str = Field(
            description="redis://host:6379, rediss:// or unix:///path, user@ if need be, without a password"
        )
        db: int | None = Field(None, ge=0, description="Number of the database; default: that of the url, or 0")
        password: str | None = Field(None, description="A secret: secret://env/NAME")
        patterns: Annotated[list[str], Field(min_length=1)] = Field(
            description="Globs of key names as SCAN knows them: `session:*`; `*` is the whole database"
        )

    class Results(BaseModel):
        keys: int = Field(description="How many keys were saved")
        bytes: int = Field(description="Size of what was saved")
        patterns: list[str] = Field(description="As given")

    def problems(self, parameters: Json) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        url, password = parameters.get("url"), parameters.get("password")
        if isinstance(url, str) and not url.startswith("${{"):
            found += [("url", said) for said in _url_problems(url, parameters.get("db"))]
        if isinstance(password, str) and not password.startswith(("secret://", "${{")):
            found.append(("password", "a password is named, never written: secret://env/NAME"))
        return found

    def take(self, run: Run) -> Snapshot:
        given = run.parameters
        with self._server(run, given) as server:
            server.refuse_unfit()
            with run.saved.batch() as batch:
                stream = saved_stream.SavingStream(run, batch)
                count = 0
                for found in server.read(given.patterns):
                    stream.write(_HEADER.pack(len(found.name), len(found.dump), found.expires_ms))
                    stream.write(found.name)
                    stream.write(found.dump)
                    count += 1
                content = stream.end()
            target = server.shown
        summary = {"keys": count, "bytes": content["bytes"], "patterns": given.patterns}
        parameters = given.model_dump(mode="json", exclude_none=True)
        data = {"format": 1, "content": content, "parameters": parameters, "summary": summary}
        return Snapshot(data, target, (f"redis:{target}",))

    def restore(self, run: Run, data: Json, undo: Undo) -> Json:
        given = self.Parameters.model_validate(data["parameters"])  # where it came from, whatever is given now
        what = f"the keys {', '.join(given.patterns)}"
        names = saved_stream.whole(run, data["content"], what)
        if undo.quiet is not None and not undo.force:
            raise saved_stream.refuse_unknown_changes(what)
        with self._server(run, given) as server:
            server.refuse_unfit()
            first = next(_keys(saved_stream.pieces(run, names)), None)
            if first is not None:
                server.refuse_unreadable(first.dump)
            wanted: set[bytes] = set()
            failed = list(server.write(_noted(_keys(saved_stream.pieces(run, names)), wanted)))
            removed = server.remove_others(given.patterns, wanted)
        if failed:
            shown = "; ".join(failed[:5])
            raise ActionError(
                f"{len(failed)} of {len(wanted)} keys could not be restored, the rest is: {shown}", PERMANENT
            )
        return {"keys": len(wanted), "removed": removed}

    def _server(self, run: Run, given: Parameters) -> RedisServer:
        problems = self.problems({"url": given.url, "db": given.db, "password": given.password})
        if problems:
            raise ActionError("; ".join(f"{path} {said}" for path, said in problems), CONFIGURATION)
        password = None if given.password is None else run.secret(given.password)
        return RedisServer(run, given.url, db=given.db, password=password)


def _url_problems(url: str, db: object) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        password = parts.password is not None or "password" in query
        _ = parts.port
    except ValueError as error:
        yield f"{error}"
        return
    if parts.scheme not in _SCHEMES:
        yield "is no redis://host:6379, rediss://host:6379 or unix:///path"
    if password:
        yield "holds a password, which would be written down: give it by `password`"
    if db is not None and ("db" in query or (parts.scheme != "unix" and parts.path.strip("/"))):
        yield "names a database, and `db` too: only one of them"


def _keys(pieces: Iterable[bytes]) -> Iterator[KeyValue]:
    """The keys of a saved stream."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        begin = 0
        while len(buffer) - begin >= _HEADER.size:
            name, dump, expires_ms = _HEADER.unpack_from(buffer, begin)
            middle = begin + _HEADER.size + name
            if len(buffer) < middle + dump:
                break
            yield KeyValue(bytes(buffer[middle - name : middle]), bytes(buffer[middle : middle + dump]), expires_ms)
            begin = middle + dump
        del buffer[:begin]


def _noted(keys: Iterable[KeyValue], names: set[bytes]) -> Iterator[KeyValue]:
    for key in keys:
        names.add(key.name)
        yield key
