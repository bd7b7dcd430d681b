"""A small shop in a PostgreSQL database, for tests of what saves and restores it."""

import itertools
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from executor.action import Json, Undo
from support.postgres import PostgresServer
from support.waiting import wait_until
from support.worlds import Bench
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


@contextmanager
def shop(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A new database with a small shop in it; the password is in the worker's environment."""
    monkeypatch.setenv("SHOP_PASSWORD", postgres.password)
    name = f"shop{next(NAMES)}"
    postgres.sql(f"CREATE DATABASE {name}")
    postgres.sql(SHOP, name)
    yield name
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


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


def nobody_else(postgres: PostgresServer, database: str) -> None:
    others = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND pid <> pg_backend_pid()"
    wait_until(lambda: postgres.sql(others) == "0", description="the killed restore has left the server")


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
