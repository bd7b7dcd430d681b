"""One HTTP request and its answer, within a deadline that a server cannot stretch by answering byte by byte."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2

from executor.model.errors import (
    CONFIGURATION,
    NETWORK,
    ActionCancelled,
    ActionError,
    ActionTimedOut,
    Classification,
    Interrupted,
    Unanswered,
)

KEEP_BODY = 256 * 1024
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
REPEATABLE = SAFE | {"PUT", "DELETE"}
_POLL_S = 0.05
_LATE_FOR_GOOD = Classification("timeout", "high", retryable=False)
"""Nobody knows whether it was done, and sending it again could do it twice."""
_T = TypeVar("_T")
_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)


@dataclass(frozen=True)
class Request:
    """What is asked; secrets are in the clear here, so it is never shown."""

    method: str
    url: str
    params: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | None = None
    json: Any = None
    body: bytes | None = None
    verify_tls: bool = True
    repeatable: bool = False
    """Whether sending it again does no harm, whatever its method: it says so, or carries a key."""

    @property
    def may_repeat(self) -> bool:
        return self.repeatable or self.method in REPEATABLE

    def __repr__(self) -> str:
        return f"{self.method} {self.url}"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    content: bytes
    cut: bool
    """The body was longer than what is kept; the rest was not read."""
    encoding: str
    elapsed_s: float

    @property
    def text(self) -> str:
        try:
            return self.content.decode(self.encoding, "replace")
        except LookupError:
            return self.content.decode("utf-8", "replace")


def exchange(request: Request, *, remaining_s: Callable[[], float], cancelled: Callable[[], bool]) -> Answer:
    """Send `request` and read the answer, whatever its status; redirects are not followed.

    Raises:
        ActionTimedOut: `remaining_s` came to 0 before the answer was there.
        ActionCancelled: `cancelled` said so.
        Interrupted: it was sent, no answer came, and a repetition could do its work twice.
        Unanswered: it was sent, no answer came, and it may be sent again.
        ActionError: the server was not reached, or does not speak HTTP.
    """
    begun = time.monotonic()
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(_bounded(request, _send(request), remaining_s, cancelled))
    except httpx2.InvalidURL as error:
        raise ActionError(f"{request}: no valid URL: {error}", CONFIGURATION) from error
    except httpx2.UnsupportedProtocol as error:
        raise ActionError(f"{request}: {error}", CONFIGURATION) from error
    except httpx2.HTTPError as error:
        raise _unanswered(request, error, time.monotonic() - begun) from error
    except (ValueError, TypeError) as error:  # a header with a line break, for instance
        raise ActionError(f"{request} cannot be sent: {error}", CONFIGURATION) from error
    finally:
        loop.close()


async def _bounded(
    request: Request,
    work: Coroutine[Any, Any, _T],
    remaining_s: Callable[[], float],
    cancelled: Callable[[], bool],
) -> _T:
    task = asyncio.ensure_future(work)
    begun = time.monotonic()
    while not task.done():
        left = remaining_s()
        await asyncio.wait({task}, timeout=min(_POLL_S, left))
        if task.done():
            break
        late = remaining_s() <= 0
        if late or cancelled():
            task.cancel()
            await asyncio.wait({task}, timeout=1.0)
            passed = f"{request} after {time.monotonic() - begun:.1f} s"
            if late:
                late_error = f"{passed}: no complete answer before the deadline"
                raise ActionTimedOut(late_error, None if request.may_repeat else _LATE_FOR_GOOD)
            raise ActionCancelled(f"{passed}: cancelled")
    return task.result()


async def _send(request: Request) -> Answer:
    begun = time.monotonic()
    tls = urlsplit(request.url).scheme == "https"
    async with (
        httpx2.AsyncClient(
            verify=request.verify_tls and tls,  # reading the certificates takes time that http does not need
            timeout=None,  # the exchange as a whole has a deadline
            trust_env=not _is_loopback(request.url),
        ) as client,
        client.stream(
            request.method,
            request.url,
            params=dict(request.params) if request.params else None,
            headers=dict(request.headers or {}),
            json=request.json,
            content=request.body,
        ) as response,
    ):
        content, cut = bytearray(), False
        if request.method != "HEAD":
            async for block in response.aiter_bytes():
                content += block
                if len(content) > KEEP_BODY:
                    cut = True
                    break
        return Answer(
            response.status_code,
            _joined(response.headers),
            bytes(content[:KEEP_BODY]),
            cut,
            response.charset_encoding or "utf-8",
            time.monotonic() - begun,
        )


def _joined(headers: httpx2.Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _is_loopback(url: str) -> bool:
    """A proxy of the environment cannot reach what is only here."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _unanswered(request: Request, error: httpx2.HTTPError, passed_s: float) -> ActionError:
    what = f"{request} after {passed_s:.1f} s: {type(error).__name__}: {error or 'no details'}"
    return ActionError(what, NETWORK) if isinstance(error, _UNSENT) else _in_doubt(request, what)


def _in_doubt(request: Request, what: str) -> ActionError:
    told = f"{what}; the request was sent, and nobody knows whether it was carried out"
    return Unanswered(told) if request.may_repeat else Interrupted(told)


def unexpected(request: Request, status: int, what: str) -> ActionError:
    """The error for an answer with a status that was not expected.

    A gateway may answer for a server that did it all the same; 503, 429 and their like say that it was not begun.
    """
    if status in (408, 425, 429, 503):
        return ActionError(what, Classification("network"))
    if status >= 500 and status not in (501, 505):  # these will never be able to do it
        doubt = request.method not in SAFE
        return _in_doubt(request, what) if doubt else ActionError(what, Classification("network"))
    return ActionError(what, Classification("network", "medium", "fatal", "external", retryable=False))
