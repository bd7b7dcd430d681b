"""snapshot.postgres on a real server: everything as before in one transaction, or nothing."""

import itertools
import threading

import pytest
from support.dying import kill_at_every_step
from support.postgres import PostgresServer
from support.postgres_shop import POSTGRES, SHOP, SPOIL, holding, nobody_else, place, restore, take
from support.waiting import wait_until
from support.worlds import Bench

from executor.action import Undo
from executor.model.errors import ActionCancelled, ActionError, ActionTimedOut
from workers.actions.saved_stream import PIECE_BYTES


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


def test_a_url_leads_there_too(bench: Bench, postgres: PostgresServer, database: str) -> None:
    """The password goes beside it."""
    where = {"url": f"postgresql://rex@/{database}?host={postgres.host}", "password": "secret://env/SHOP_PASSWORD"}
    before = postgres.content(database)
    data = take(bench, where)
    postgres.sql(SPOIL, database)
    restore(bench, where, data)
    assert postgres.content(database) == before
