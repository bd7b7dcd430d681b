"""snapshot.postgres: what is refused, and how it is told."""

from contextlib import suppress
from pathlib import Path

import pytest
from support.postgres import PostgresServer
from support.postgres_shop import POSTGRES, SPOIL, holding, nobody_else, place, restore, take
from support.worlds import Bench

from executor.model.errors import ActionCancelled, ActionError, ChangedSince
from rollback.stores import MemoryStore


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
