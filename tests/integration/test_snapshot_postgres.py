"""snapshot.postgres on a real server: everything as before in one transaction, or nothing."""

import itertools
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from support.dying import kill_at_every_step
from support.postgres import PostgresServer
from support.waiting import wait_until
from support.worlds import Bench

from executor.action import Json, Undo
from executor.model.errors import ActionCancelled, ActionError, ActionTimedOut, ChangedSince
from rollback.stores import MemoryStore
from workers.actions.saved_stream import PIECE_BYTES
from workers.actions.snapshot_postgres import Postgres

POSTGRES = Postgres()
NAMES = itertools.count(1)
SHOP = """
CREATE EXTENSION citext;
CREATE SCHEMA shop;
CREATE TYPE shop.size AS ENUM ('s', 'l');
CREATE TABLE shop.customer (id serial PRIMARY KEY, name text NOT NULL);
CREATE TABLE shop.basket (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int REFERENCES shop.customer,
                          size shop.size, note text DEFAULT $$it's ; odd$$);
CREATE INDEX ON shop.basket (note);
CREATE TABLE public.plain (x int, y bytea, z citext);
CREATE TABLE public."Odd 'name" (x text);
INSERT INTO shop.customer (name) SELECT 'n' || g FROM generate_series(1, 50) g;
INSERT INTO shop.basket (customer, size, note) SELECT g, 's', E'a\\tb\\n\\\\.' FROM generate_series(1, 50) g;
INSERT INTO plain SELECT g, decode(md5(g::text), 'hex') FROM generate_series(1, 100) g;
INSERT INTO "Odd 'name" VALUES ('here');
GRANT SELECT ON plain TO PUBLIC;
"""
SPOIL = """
UPDATE shop.customer SET name = 'changed';
INSERT INTO shop.customer (name) VALUES ('new');
DELETE FROM shop.basket WHERE id > 10;
ALTER TABLE shop.basket DROP COLUMN note;
TRUNCATE plain;
REVOKE SELECT ON plain FROM PUBLIC;
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """One server for this module."""
    server = PostgresServer()
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def database(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A new database with a small shop in it; the password is in the worker's environment."""
    monkeypatch.setenv("SHOP_PASSWORD", postgres.password)
    name = f"shop{next(NAMES)}"
    postgres.sql(f"CREATE DATABASE {name}")
    postgres.sql(SHOP, name)
    yield name
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def bench() -> Bench:
    return Bench()


def place(postgres: PostgresServer, database: str, **more: Any) -> dict[str, Any]:
    """The parameters that lead there."""
    password = "secret://env/SHOP_PASSWORD"
    return {"host": postgres.host, "user": "rex", "database": database, "password": password} | more


def take(bench: Bench, where: dict[str, Any]) -> Json:
    data = bench.begin(POSTGRES, **where).snapshot
    assert data is not None
    return data


def restore(bench: Bench, where: dict[str, Any], data: Json, **undo: Any) -> Json:
    return POSTGRES.restore(bench.run(POSTGRES, **where), data, Undo(snapshot=data, **undo))


def test_a_whole_database_is_as_before(bench: Bench, postgres: PostgresServer, database: str) -> None:
    """Rows, columns, rights and sequences come back; schemas, tables, functions and extensions made since go."""
    where = place(postgres, database)
    before = postgres.content(database)
    result, undo = bench.do(POSTGRES, **where)
    assert result == {"database": database, "tables": None, "bytes": result["bytes"], "server_version": 15}
    postgres.sql(SPOIL, database)
    postgres.sql(
        "CREATE SCHEMA other; CREATE TABLE other.t (x int); CREATE TABLE public.u (x int);"
        "CREATE FUNCTION public.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "CREATE VIEW public.v AS SELECT * FROM shop.customer; CREATE PUBLICATION p FOR ALL TABLES;"
        "CREATE FOREIGN DATA WRAPPER w; CREATE CAST (bytea AS int) WITH INOUT; SELECT lo_create(77);"
        "DROP EXTENSION citext CASCADE; CREATE EXTENSION pg_trgm SCHEMA other;"
        "DROP TABLE shop.basket; DROP TYPE shop.size; CREATE DOMAIN public.d AS int;"
        "CREATE FUNCTION public.e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
        "CREATE EVENT TRIGGER et ON sql_drop EXECUTE FUNCTION public.e(); GRANT ALL ON SCHEMA public TO PUBLIC",
        database,
    )
    undo()
    assert postgres.content(database) == before
    undo()
    assert postgres.content(database) == before
    assert postgres.sql("INSERT INTO shop.customer (name) VALUES ('next') RETURNING id", database) == "51"


def test_a_schema_public_that_was_dropped_comes_back(bench: Bench, postgres: PostgresServer, database: str) -> None:
    """And where there was none before, none is after."""
    where = place(postgres, database)
    before = postgres.content(database)
    data = take(bench, where)
    postgres.sql("DROP SCHEMA public CASCADE", database)
    without = take(bench, where)
    restore(bench, where, data)
    assert postgres.content(database) == before
    restore(bench, where, without)
    assert postgres.sql("SELECT to_regnamespace('public') IS NULL", database) == "t"


def test_named_tables_alone_are_as_before(bench: Bench, postgres: PostgresServer, database: str) -> None:
    """What is not named keeps its changes; one that was dropped is made again with its sequence."""
    where = place(postgres, database, tables=["shop.basket", "shop.customer", "public.Odd 'name"])
    before = postgres.content(database)
    data = take(bench, where)
    postgres.sql(SPOIL + 'DROP TABLE "Odd \'name"; CREATE TABLE shop.new (x int)', database)
    restore(bench, where, data)
    assert postgres.sql("SELECT count(*) FROM plain", database) == "0"
    postgres.sql(
        "DROP TABLE shop.new; GRANT SELECT ON plain TO PUBLIC;"
        "INSERT INTO plain SELECT g, decode(md5(g::text), 'hex') FROM generate_series(1, 100) g",
        database,
    )
    assert postgres.content(database) == before


@pytest.mark.parametrize("tables", [None, ["shop.basket", "shop.customer", "public.plain"]])
def test_a_restore_killed_anywhere_is_nothing_or_all(
    bench: Bench, postgres: PostgresServer, database: str, tables: list[str] | None
) -> None:
    """SIGKILL of the worker at each step, with pieces sent and the end still to come: then again, and exact."""
    where = place(postgres, database, tables=tables)
    postgres.sql(
        f"INSERT INTO plain SELECT g, sha256(g::text::bytea) FROM generate_series(1, {PIECE_BYTES // 60}) g", database
    )
    before = postgres.content(database)
    data = take(bench, where)
    assert len(data["content"]["pieces"]) > 1

    def spoil() -> None:
        nobody_else(postgres, database)
        assert postgres.content(database) == before
        postgres.sql("TRUNCATE plain; ALTER TABLE plain ADD COLUMN zz int", database)

    def nothing_happened() -> None:
        nobody_else(postgres, database)
        assert postgres.sql("SELECT zz FROM plain", database) == ""

    def check() -> None:
        assert postgres.content(database) == before

    assert kill_at_every_step(bench, POSTGRES, data, spoil, check, nothing_happened, **where) >= 4


def nobody_else(postgres: PostgresServer, database: str) -> None:
    others = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND pid <> pg_backend_pid()"
    wait_until(lambda: postgres.sql(others) == "0", description="the killed restore has left the server")


def test_a_script_that_ends_early_changes_nothing(bench: Bench, postgres: PostgresServer, database: str) -> None:
    """Cancelled when all but the COMMIT is done: psql commits nothing by itself."""
    postgres.sql("CREATE VIEW shop.zz AS SELECT 1 AS lastly; GRANT SELECT (lastly) ON shop.zz TO PUBLIC", database)
    where = place(postgres, database)
    data = take(bench, where)
    postgres.sql(SPOIL, database)
    spoiled = postgres.content(database)
    run = bench.run(POSTGRES, **where)
    steps = itertools.count(1)

    def cancel_before_commit() -> None:
        if next(steps) == 3:  # the restore itself, its only piece, its end
            state = f"SELECT state FROM pg_stat_activity WHERE datname = '{database}' AND application_name = 'rex'"
            wait_until(
                lambda: postgres.sql(f"{state} AND query LIKE '%lastly%'") in ("idle", "idle in transaction"),
                description="psql has done all that it was given",
            )
            raise ActionCancelled("cancelled")

    run._guard = cancel_before_commit
    with pytest.raises(ActionCancelled):
        POSTGRES.restore(run, data, Undo())
    nobody_else(postgres, database)
    assert postgres.content(database) == spoiled


@contextmanager
def holding(postgres: PostgresServer, database: str, table: str) -> Iterator[None]:
    """Somebody else has the table locked."""
    argv = [str(postgres.programs / "psql"), "-XqAt", database]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=postgres.environment(), text=True, bufsize=1
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdin.write(f"BEGIN; LOCK TABLE {table}; SELECT 'held';\n")
        assert other.stdout.readline() == "held\n"
        yield
        other.stdin.close()


def test_locks_of_others_end_it_with_a_clear_error(bench: Bench, postgres: PostgresServer, database: str) -> None:
    """Take and restore wait for lock_timeout; also for a table that is only referenced. Nothing is changed."""
    where = place(postgres, database, lock_timeout="200ms")
    only = place(postgres, database, lock_timeout="200ms", tables=["shop.basket"])
    data, named = take(bench, where), take(bench, only)
    before = postgres.content(database)
    with holding(postgres, database, "shop.customer"):
        for call in (
            lambda: take(bench, where),
            lambda: restore(bench, where, data),
            lambda: restore(bench, only, named),
        ):
            with pytest.raises(
                ActionError, match=r"others hold a lock; stop them, or give a longer lock_timeout"
            ) as caught:
                call()
            assert caught.value.classification.retryable
    assert postgres.content(database) == before
    postgres.sql("DROP TABLE shop.basket", database)
    with holding(postgres, database, "shop.customer"), pytest.raises(ActionError, match="others hold a lock"):
        restore(bench, only, named)  # only the foreign key waits
    restore(bench, where, data)
    assert postgres.content(database) == before


def test_deadline_and_cancel_end_it(bench: Bench, postgres: PostgresServer, database: str) -> None:
    """While it waits for a lock; nothing of it goes on."""
    where = place(postgres, database, lock_timeout="60s")
    data = take(bench, where)
    with holding(postgres, database, "shop.customer"):
        with pytest.raises(ActionTimedOut):
            POSTGRES.take(bench.run(POSTGRES, timeout_s=1.0, **where))
        timer = threading.Timer(0.5, bench.cancel.set)
        timer.start()
        with pytest.raises(ActionCancelled):
            restore(bench, where, data)
        timer.join()
    nobody_else(postgres, database)


def test_what_does_not_fit_is_refused_before_the_run(bench: Bench, postgres: PostgresServer, database: str) -> None:
    """Missing tables, views, dependents that are not named, large objects: each by name."""
    postgres.sql("CREATE VIEW public.v AS SELECT * FROM plain", database)
    cases = [
        (["shop.nothing"], r"has no table shop\.nothing"),
        (["public.v"], r"public\.v is no table"),
        (["shop.customer"], r"depending on what is: table shop\.basket \(foreign key basket_customer_fkey\)"),
        (["public.plain"], r"depending on what is: view v"),
    ]
    for tables, said in cases:
        with pytest.raises(ActionError, match=said) as caught:
            take(bench, place(postgres, database, tables=tables))
        assert caught.value.classification.category == "configuration"
    postgres.sql("SELECT lo_create(0)", database)
    with pytest.raises(ActionError, match="holds 1 large objects"):
        take(bench, place(postgres, database))
    assert not bench.saved._kept


def test_who_could_not_restore_it_may_not_take_it(bench: Bench, postgres: PostgresServer, database: str) -> None:
    """A user who can read, and does not own."""
    postgres.sql(f"CREATE ROLE {database}_reader LOGIN PASSWORD '{postgres.password}'")
    postgres.sql(f"GRANT pg_read_all_data TO {database}_reader")
    try:
        with pytest.raises(ActionError, match=r"the user owns not all of it.*shop\.customer"):
            take(bench, place(postgres, database, user=f"{database}_reader"))
    finally:
        postgres.sql(f"DROP ROLE {database}_reader")


def test_the_owner_needs_no_further_rights(
    bench: Bench, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database whose owner is nobody special is restored as a whole, schema public and trusted extensions too."""
    monkeypatch.setenv("SHOP_PASSWORD", postgres.password)
    postgres.sql(f"CREATE ROLE keeper LOGIN PASSWORD '{postgres.password}'")
    postgres.sql("CREATE DATABASE kept OWNER keeper")
    postgres.sql(f"SET SESSION AUTHORIZATION keeper;{SHOP}", "kept")
    before = postgres.content("kept")
    where = place(postgres, "kept", user="keeper")
    data = take(bench, where)
    postgres.sql(f"SET SESSION AUTHORIZATION keeper;{SPOIL};DROP SCHEMA public CASCADE", "kept")
    restore(bench, where, data)
    assert postgres.content("kept") == before


def test_a_view_made_since_stops_the_restore_of_its_table(
    bench: Bench, postgres: PostgresServer, database: str
) -> None:
    """It would have to go with the table: told with its name, nothing is changed."""
    where = place(postgres, database, tables=["public.plain"])
    data = take(bench, where)
    postgres.sql("DELETE FROM plain; CREATE VIEW public.since AS SELECT * FROM plain", database)
    with pytest.raises(ActionError, match="view since depends on table plain") as caught:
        restore(bench, where, data)
    assert not caught.value.classification.retryable
    assert postgres.sql("SELECT count(*) FROM plain", database) == "0"


def test_a_server_that_is_not_there_or_refuses(
    bench: Bench, postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No socket, no such database, a wrong password: which, where, and no secret in the text."""
    with pytest.raises(ActionError, match="psql for /nowhere:5432") as caught:
        take(bench, place(postgres, database, host="/nowhere"))
    assert caught.value.classification.type == "network"
    with pytest.raises(ActionError, match='database "nothing" does not exist') as caught:
        take(bench, place(postgres, "nothing"))
    assert caught.value.classification.category == "configuration"
    monkeypatch.setenv("SHOP_PASSWORD", "a wrong password")
    with pytest.raises(ActionError, match="password authentication failed") as caught:
        take(bench, place(postgres, database))
    assert "wrong password" not in str(caught.value)
    assert caught.value.classification.category == "configuration"


def test_a_url_leads_there_too(bench: Bench, postgres: PostgresServer, database: str) -> None:
    """The password goes beside it."""
    where = {"url": f"postgresql://rex@/{database}?host={postgres.host}", "password": "secret://env/SHOP_PASSWORD"}
    before = postgres.content(database)
    data = take(bench, where)
    postgres.sql(SPOIL, database)
    restore(bench, where, data)
    assert postgres.content(database) == before


def test_mistakes_are_found_before_anything_is_asked(bench: Bench) -> None:
    """No database, a url and its parts, a password in the open."""
    assert POSTGRES.problems({}) == [("", "needs one of url and database")]
    assert POSTGRES.problems({"url": "postgresql://u@h/d", "host": "h"}) == [
        ("host", "takes only one of url and its parts")
    ]
    for url in ("postgresql://u:p@h/d", "postgresql://u@h/d?password=p"):
        assert "process list" in POSTGRES.problems({"url": url})[0][1]
        with pytest.raises(ActionError, match="process list"):
            take(bench, {"url": url})
    assert "is no postgresql://" in POSTGRES.problems({"url": "http://h/d"})[0][1]
    assert POSTGRES.problems({"database": "d", "password": "p"})[0][0] == "password"
    with pytest.raises(ValueError, match="pattern"):
        bench.run(POSTGRES, database="d", tables=["no_schema"])


def test_missing_programs_are_told_with_a_remedy(
    bench: Bench, postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing on the PATH, nothing where Debian puts it."""
    monkeypatch.setattr("workers.actions.snapshot_postgres_tools._DEBIAN", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ActionError, match="psql is not on the PATH of the worker: install"):
        take(bench, place(postgres, database))


def test_the_store_full_or_damaged(bench: Bench, postgres: PostgresServer, database: str) -> None:
    """Too small: an error and no pg_dump left. A flipped byte: refused before anything is changed."""
    where = place(postgres, database)
    before = postgres.content(database)
    data = take(bench, where)
    name = data["content"]["pieces"][0]
    content, saved = bench.saved._kept[name]
    bench.saved._kept[name] = (content.replace(b"n17", b"n71"), saved)
    with pytest.raises(ActionError, match=f"1 of its 1 pieces are missing or damaged.*{name}; nothing was changed"):
        restore(bench, where, data)
    assert postgres.content(database) == before
    bench.saved = MemoryStore(max_bytes=1000)
    with pytest.raises(ActionError, match="cannot save") as caught:
        take(bench, where)
    assert caught.value.classification.type == "resource"
    nobody_else(postgres, database)


def test_long_after_the_run_it_is_restored_only_by_force(bench: Bench, postgres: PostgresServer, database: str) -> None:
    """A database does not tell when it was changed."""
    where = place(postgres, database)
    before = postgres.content(database)
    data = take(bench, where)
    postgres.sql(SPOIL, database)
    with pytest.raises(
        ChangedSince, match=r"cannot be known whether others changed the database shop.*`--force` restores it"
    ):
        restore(bench, where, data, quiet=(1.0, 2.0))
    restore(bench, where, data, quiet=(1.0, 2.0), force=True)
    assert postgres.content(database) == before


def test_the_password_is_in_no_argument(bench: Bench, postgres: PostgresServer, database: str) -> None:
    """While a take waits for a lock, no process shows it."""
    where = place(postgres, database, lock_timeout="2s")
    seen: list[str] = []
    with holding(postgres, database, "shop.customer"):
        run = bench.run(POSTGRES, **where)

        def look() -> bool:
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    seen.append((process / "cmdline").read_text())
            return any("--lock-wait-timeout" in line for line in seen)

        run._cancelled = look
        with pytest.raises(ActionCancelled):
            POSTGRES.take(run)
    assert not any(postgres.password in line for line in seen)
