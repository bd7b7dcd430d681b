"""HTTP actions against a real server on loopback."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from support.worlds import Bench, Server, reply

from executor.action import Found, WayBack
from executor.model.errors import ActionCancelled, ActionError, ActionTimedOut, Interrupted, Unanswered
from workers.actions.http_check import Check
from workers.actions.http_request import Request
from workers.run import perform

REQUEST, CHECK = Request(), Check()


def test_what_is_sent_and_what_comes_back(bench: Bench, server: Server) -> None:
    server.answers = lambda handler, _: reply(handler, 201, b'{"id": [7]}', "application/json")
    result = bench.execute(
        REQUEST, method="post", url=server.url + "/items", params={"a": "b c"}, headers={"X-A": 1}, json={"k": 1}
    )
    method, path, headers, body = server.seen[0]
    assert (method, path, headers["X-A"], json.loads(body)) == ("POST", "/items?a=b+c", "1", {"k": 1})
    assert (result["status"], result["json"], "text" in result) == (201, {"id": [7]}, False)
    assert result["headers"]["content-type"] == "application/json"
    assert result["elapsed_s"] < 5


def test_text_and_what_only_claims_to_be_json(bench: Bench, server: Server) -> None:
    server.answers = lambda handler, _: reply(handler, 200, "grüß".encode(), "text/plain; charset=utf-8")
    assert bench.execute(REQUEST, url=server.url)["text"] == "grüß"
    server.answers = lambda handler, _: reply(handler, 200, b"{broken", "application/json")
    assert bench.execute(REQUEST, url=server.url)["text"] == "{broken"


@pytest.mark.parametrize(("status", "retryable"), [(503, True), (429, True), (404, False), (302, False)])
def test_a_status_that_was_not_expected(bench: Bench, server: Server, status: int, retryable: bool) -> None:
    server.answers = lambda handler, _: reply(handler, status, b"the reason")
    with pytest.raises(ActionError, match=f"answered {status}, expected 2xx: the reason") as caught:
        bench.execute(REQUEST, url=server.url)
    assert caught.value.classification.retryable is retryable
    assert bench.execute(REQUEST, url=server.url, expect=[status])["status"] == status
    assert bench.execute(REQUEST, url=server.url, expect=f"{status // 100}xx")["status"] == status


def test_nobody_there_is_worth_another_try(bench: Bench) -> None:
    with pytest.raises(ActionError, match=r"GET http://127\.0\.0\.1:9/ after") as caught:
        bench.execute(REQUEST, url="http://127.0.0.1:9/")
    assert caught.value.classification.type == "network"
    assert caught.value.classification.retryable


def test_a_post_without_an_answer_is_not_repeated(bench: Bench, server: Server) -> None:
    server.answers = lambda handler, _: handler.connection.close()
    with pytest.raises(Interrupted, match="nobody knows"):
        bench.execute(REQUEST, method="POST", url=server.url)
    with pytest.raises(ActionError) as caught:
        bench.execute(REQUEST, url=server.url)
    assert caught.value.classification.retryable, "a GET may be sent again"


@pytest.mark.parametrize(
    ("method", "headers", "idempotent", "status", "error", "retryable"),
    [
        ("POST", {}, False, 504, Interrupted, False),
        ("POST", {}, False, 500, Interrupted, False),
        ("POST", {}, False, 503, ActionError, True),
        ("POST", {"idempotency-key": "k"}, False, 504, Unanswered, True),
        ("POST", {}, True, 504, Unanswered, True),
        ("PUT", {}, False, 502, Unanswered, True),
        ("PUT", {}, False, 403, ActionError, False),
        ("POST", {}, False, 501, ActionError, False),
        ("GET", {}, False, 500, ActionError, True),
    ],
)
def test_an_answer_that_leaves_in_doubt_whether_it_was_done(
    bench: Bench, server: Server, method: str, headers: dict[str, str], idempotent: bool, status: int,
    error: type[ActionError], retryable: bool,
) -> None:  # fmt: skip
    """A 5xx of a changing request leaves it in doubt; it is sent again only where that does no harm."""
    server.answers = lambda handler, _: reply(handler, status, b"")
    run = bench.run(REQUEST, method=method, url=server.url, headers=headers)
    run.idempotent = idempotent
    with pytest.raises(ActionError) as caught:
        perform(REQUEST, "execute", run)
    assert type(caught.value) is error
    assert caught.value.classification.retryable is retryable


@pytest.mark.parametrize(("method", "retryable"), [("POST", False), ("PUT", True)])
def test_a_late_answer_is_asked_for_again_only_where_that_does_no_harm(
    bench: Bench, server: Server, method: str, retryable: bool
) -> None:
    """Past the deadline nobody knows whether it was done."""
    stop = threading.Event()
    server.answers = lambda _handler, _count: stop.wait(30)
    with pytest.raises(ActionTimedOut) as caught:
        bench.execute(REQUEST, method=method, url=server.url, timeout_s=0.3)
    stop.set()
    assert caught.value.classification.retryable is retryable


@pytest.mark.parametrize(
    ("parameters", "repeatable"),
    [({"method": "put"}, True), ({"method": "POST"}, False), ({}, True), ({"method": "${{ inputs.m }}"}, False),
     ({"method": "POST", "headers": {"Idempotency-Key": "k"}}, True)],
)  # fmt: skip
def test_which_requests_may_be_sent_again(parameters: dict[str, Any], repeatable: bool) -> None:
    """By their method as HTTP defines it, or by a key."""
    assert REQUEST.repeatable({"url": "http://x", **parameters}) is repeatable


@pytest.mark.parametrize("what", ["headers", "body"])
def test_a_server_that_trickles_cannot_stretch_the_deadline(bench: Bench, server: Server, what: str) -> None:
    stop = threading.Event()

    def trickle(handler: BaseHTTPRequestHandler, _: int) -> None:
        start = b"HTTP/1.1 200 OK\r\nX-A: " if what == "headers" else b"HTTP/1.1 200 OK\r\n\r\n"
        handler.wfile.write(start)
        while not stop.wait(0.02):
            try:
                handler.wfile.write(b"x")
            except OSError:
                return

    server.answers = trickle
    begun = time.monotonic()
    with pytest.raises(ActionTimedOut, match="no complete answer before the deadline"):
        bench.execute(REQUEST, url=server.url, timeout_s=0.4)
    assert time.monotonic() - begun < 1.5
    timer = threading.Timer(0.2, bench.cancel.set)
    timer.start()
    with pytest.raises(ActionCancelled):
        bench.execute(REQUEST, url=server.url)
    stop.set()
    timer.join()


def test_a_large_body_is_cut(bench: Bench, server: Server) -> None:
    def endless(handler: BaseHTTPRequestHandler, _: int) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
        try:
            while True:
                handler.wfile.write(b"y" * 65536)
        except OSError:
            return

    server.answers = endless
    result = bench.execute(REQUEST, url=server.url)
    assert result["cut"]
    assert 100_000 < len(result["text"]) <= 256 * 1024


def test_secrets_in_headers_and_bodies(bench: Bench, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "swordfish")
    server.answers = lambda handler, count: reply(handler, 200 if count == 1 else 401, server.seen[-1][3])
    given = {"method": "PUT", "url": server.url, "headers": {"Authorization": "secret://env/TOKEN"}}
    result = bench.execute(REQUEST, **given, json={"deep": ["secret://env/TOKEN"]})
    assert server.seen[0][2]["Authorization"] == "swordfish"
    assert json.loads(server.seen[0][3]) == {"deep": ["swordfish"]}
    assert "swordfish" not in str(result)
    with pytest.raises(ActionError, match=r"401.*\*\*\*") as caught:
        bench.execute(REQUEST, **given, body="secret://env/TOKEN")
    assert "swordfish" not in str(caught.value)


def test_the_way_back_and_the_probe_follow_the_method(bench: Bench) -> None:
    assert REQUEST.way_back({}) is WayBack.NOTHING_CHANGED
    assert REQUEST.way_back({"method": "head"}) is WayBack.NOTHING_CHANGED
    assert REQUEST.way_back({"method": "POST"}) is WayBack.DECLARED
    assert REQUEST.way_back({"method": "${{ inputs.m }}"}) is WayBack.DECLARED
    assert perform(REQUEST, "check", bench.run(REQUEST, url="http://x")) is Found.NOT_DONE
    assert perform(REQUEST, "check", bench.run(REQUEST, url="http://x", method="POST")) is Found.UNKNOWN


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("ftp://x/", True),
        ("x", True),
        ("http://secret://env/X", True),
        ("http://h/", False),
        ("${{ inputs.u }}", False),
    ],
)
def test_a_wrong_url_is_found_before_the_run(url: str, wrong: bool) -> None:
    for kind in (REQUEST, CHECK):
        assert bool(kind.problems({"url": url})) is wrong


def test_a_check_asks_until_it_is_answered_as_wanted(bench: Bench, server: Server) -> None:
    server.answers = lambda handler, count: reply(handler, 503 if count < 3 else 200, b"ok" if count > 3 else b"soon")
    result = bench.execute(CHECK, url=server.url, interval="10ms", contains="ok")
    assert (result["status"], result["tries"]) == (200, 4)


def test_a_check_that_is_never_met_says_what_came_last(bench: Bench, server: Server) -> None:
    server.answers = lambda handler, _: reply(handler, 503, b"starting")
    with pytest.raises(ActionError, match=r"did not answer 200 within 200ms .*last answer: 503 'starting'") as caught:
        bench.execute(CHECK, url=server.url, within="200ms", interval="20ms")
    assert not caught.value.classification.retryable
    with pytest.raises(ActionError, match=r"last try: GET http://127.0.0.1:9/"):
        bench.execute(CHECK, url="http://127.0.0.1:9/", within="100ms", interval="20ms")


def test_a_check_ends_with_its_action(bench: Bench, server: Server) -> None:
    server.answers = lambda handler, _: reply(handler, 503)
    begun = time.monotonic()
    with pytest.raises(ActionError, match="503"):
        bench.execute(CHECK, url=server.url, within="1m", timeout_s=0.3, interval="20ms")
    timer = threading.Timer(0.1, bench.cancel.set)
    timer.start()
    with pytest.raises(ActionCancelled):
        bench.execute(CHECK, url=server.url, within="1m", interval="30s")
    timer.join()
    assert time.monotonic() - begun < 3
