"""One attempt: its secrets, its deadline, its errors."""

import base64
import json
import logging
import time
from typing import Any
from urllib.parse import quote

import pytest
from support.worlds import Bench

from executor.action import ActionType, Found, Run, Snapshot
from executor.model.errors import ActionCancelled, ActionError, ActionTimedOut
from executor.model.strategy import Model
from workers.actions.assertion import Assert
from workers.actions.wait import Wait
from workers.masking import SecretValues
from workers.run import perform

SECRET = 's3cr3t/"pass" wörd\'&+'


class Told(ActionType):
    """Does what the test says."""

    uses = "test.told"
    isolated = False

    class Parameters(Model):
        do: Any = None

    def execute(self, run: Run) -> Any:
        return run.parameters.do(run)

    def snapshot(self, run: Run) -> Any:
        return run.parameters.do(run)

    def check(self, run: Run) -> Any:
        return run.parameters.do(run)


TOLD = Told()


@pytest.fixture
def secrets() -> SecretValues:
    values = SecretValues(
        {
            "A": SECRET,
            "SHORT": "ab",
            "EMPTY": "",
            "REX_BROKER_URL": "a://b:c@d",
            "KEY": "-----BEGIN\nabcdefghij\nxyz\n-----END",
        }
    )
    values.read("secret://env/A")
    return values


@pytest.mark.parametrize(
    "shown",
    [
        SECRET,
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        repr(SECRET),
        quote(SECRET),
        quote(SECRET, safe=""),
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"user:{SECRET}".encode()).decode(),
        base64.urlsafe_b64encode(f"me:{SECRET}!".encode()).decode(),
        SECRET.replace("'", "'\"'\"'"),
        SECRET.replace("&", "&amp;").replace('"', "&quot;").replace("'", "&#x27;"),
    ],
)
def test_a_secret_is_masked_in_every_form(secrets: SecretValues, shown: str) -> None:
    masked = secrets.mask(f"before {shown} after")
    assert "***" in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert len(masked) < 30


def test_secrets_of_several_lines_short_ones_and_empty_ones(secrets: SecretValues) -> None:
    secrets.read("secret://env/KEY")
    assert secrets.mask("in a log: abcdefghij") == "in a log: ***"
    secrets.read("secret://env/SHORT")
    assert secrets.mask("ab about ab=1") == "*** about ***=1", "a short one only where it stands alone"
    for reference, said in (
        ("secret://env/EMPTY", "is empty"),
        ("secret://env/ABSENT", "is not set"),
        ("secret://vault/x", "write secret://env/NAME"),
        ("secret://env/", "write secret://env/NAME"),
        ("secret://env/REX_BROKER_URL", "a setting of the worker itself"),
    ):
        with pytest.raises(ActionError, match=said) as caught:
            secrets.read(reference)
        assert not caught.value.classification.retryable
    assert secrets.read("no reference") == "no reference"


def test_half_a_secret_at_the_end_of_a_long_text_is_masked(secrets: SecretValues) -> None:
    assert secrets.mask("x" * 5000 + SECRET[:12]) == "x" * 5000 + "***"


def test_masking_goes_through_a_whole_value(secrets: SecretValues) -> None:
    value = {"a": [f"x{SECRET}y", 1, None], SECRET: True}
    assert secrets.mask_value(value) == {"a": ["x***y", 1, None], "***": True}
    number = SecretValues({"PIN": "123456"})
    number.read("secret://env/PIN")
    assert number.mask_value({"pin": 123456, "other": 1234567}) == {"pin": "***", "other": 1234567}


def test_logs_and_progress_are_masked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TOKEN", "swordfish")

    def do(run: Run) -> None:
        secret = run.secret("secret://env/TOKEN")
        run.progress(7, f"with {secret}")
        run.log.warning("using %s", secret)
        try:
            int(secret)
        except ValueError:
            run.log.exception("failed")

    caplog.set_level(logging.DEBUG)
    bench.execute(TOLD, do=do)
    assert bench.progress == [(1.0, "with ***")]
    assert "using ***" in caplog.text
    assert "with base 10: '***'" in caplog.text
    assert "swordfish" not in caplog.text


def test_any_exception_becomes_an_action_error_without_its_secrets(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "swordfish")

    def raising(error: BaseException) -> Any:
        def do(run: Run) -> None:
            run.secret("secret://env/TOKEN")
            raise error

        return do

    for error, said in (
        (KeyError("swordfish"), "KeyError: '***'"),
        (SystemExit("swordfish"), "SystemExit: ***"),
        (ActionTimedOut("with swordfish"), "with ***"),
        (ZeroDivisionError(), "ZeroDivisionError"),
    ):
        with pytest.raises(ActionError) as caught:
            bench.execute(TOLD, do=raising(error))
        assert str(caught.value) == said
        assert caught.value.__suppress_context__
        assert isinstance(caught.value, ActionTimedOut) == isinstance(error, ActionTimedOut)


def test_what_a_method_returns_is_checked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "swordfish")

    def call(method: Any, do: Any) -> Any:
        return perform(TOLD, method, bench.run(TOLD, do=do))

    assert call("execute", lambda run: {"a": run.secret("secret://env/TOKEN")}) == {"a": "***"}
    assert call("check", lambda _: Found.DONE) is Found.DONE
    assert call("snapshot", lambda _: None) is None
    for method, do, said in (
        ("execute", lambda _: {1}, "result is a set"),
        ("check", lambda _: True, "check returned True"),
        ("snapshot", lambda _: {}, "not a Snapshot"),
        ("snapshot", lambda _: Snapshot({"x": b""}), "result.x is a bytes"),
        ("snapshot", lambda run: Snapshot({"x": run.secret("secret://env/TOKEN")}), "holds a secret"),
    ):
        with pytest.raises(ActionError, match=said):
            call(method, do)


def test_proceed_asks_for_cancel_deadline_and_guard(bench: Bench) -> None:
    run = bench.run(TOLD)
    run.proceed()
    run.deadline = time.monotonic()
    assert run.remaining_s() == 0
    assert run.cancelled()
    with pytest.raises(ActionTimedOut):
        run.proceed()
    run.deadline = time.monotonic() + 10

    def guard() -> None:
        raise ActionCancelled("the token is too old")

    run._guard = guard
    with pytest.raises(ActionCancelled, match="token"):
        run.proceed()
    bench.cancel.set()
    with pytest.raises(ActionCancelled, match="before its effect"):
        run.proceed()


def test_a_report_that_cannot_be_delivered_harms_nobody(bench: Bench) -> None:
    def refuse(*_: Any) -> None:
        raise ConnectionError

    run = bench.run(TOLD, do=lambda run: run.progress(0.1))
    run._report = refuse
    assert perform(TOLD, "execute", run) is None


def test_wait_waits_and_obeys(bench: Bench) -> None:
    assert 0.05 <= bench.execute(Wait(), **{"for": "50ms"})["waited_s"] < 1
    with pytest.raises(ActionTimedOut, match="waiting for 1m"):
        bench.execute(Wait(), timeout_s=0.1, **{"for": "1m"})
    run = bench.run(Wait(), **{"for": "1m"})
    cancelled_at = time.monotonic() + 0.1
    run._cancelled = lambda: time.monotonic() > cancelled_at
    with pytest.raises(ActionCancelled):
        perform(Wait(), "execute", run)
    assert time.monotonic() - cancelled_at < 0.2


def test_assert_fails_with_its_message(bench: Bench) -> None:
    assert bench.execute(Assert(), that=True) == {}
    with pytest.raises(ActionError, match=r"^the port is taken$") as caught:
        bench.execute(Assert(), that=False, message="the port is taken")
    assert not caught.value.classification.retryable
    with pytest.raises(ActionError, match="it gave 1, not true"):
        bench.execute(Assert(), that=1)
