"""``http.request``: one request, its answer the result."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from executor.action import ActionType, Found, Json, Run, WayBack
from executor.model.errors import CONFIGURATION, ActionError
from executor.model.strategy import Model
from executor.results import MAX_RESULT_BYTES
from workers.actions.http_exchange import REPEATABLE, SAFE, Answer, exchange, unexpected
from workers.actions.http_exchange import Request as Exchange
from workers.actions.http_reach import same_from_elsewhere

Expected = Annotated[str, StringConstraints(pattern=r"^[1-5]([0-9]{2}|xx)$")] | Annotated[int, Field(ge=100, le=599)]
Scalar = str | int | float | bool


class Request(ActionType):
    """Send an HTTP request. Redirects are not followed: they are answers like any other."""

    uses = "http.request"
    permissions = ("http.request",)
    isolated = False

    class Parameters(Model):
        method: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]+$")] = Field("GET", description="HTTP method")
        url: str = Field(description="http:// or https:// URL")
        params: dict[str, Scalar | list[Scalar]] = Field({}, description="Query parameters")
        headers: dict[str, Scalar] = Field({}, description="Request headers; values may be secrets")
        json_: Any = Field(None, alias="json", description="Body as JSON; texts in it may be secrets")
        body: str | None = Field(None, description="Body as text; may be a secret")
        expect: list[Expected] | Expected = Field(
            default_factory=lambda: list[Expected](["2xx"]), description="Statuses that mean success: 200, '2xx'"
        )
        verify_tls: bool = Field(True, description="Check the server's certificate")

    class Results(BaseModel):
        status: int
        headers: dict[str, str] = Field(description="Names in lower case")
        json_: Any = Field(None, alias="json", description="The body, where it is JSON")
        text: str | None = Field(None, description="The body as text, where it is not")
        cut: bool = Field(False, description="Whether the body was longer than what is kept")
        elapsed_s: float

    def way_back(self, parameters: Json) -> WayBack:
        method = parameters.get("method") or "GET"
        safe = isinstance(method, str) and method.upper() in SAFE
        return WayBack.NOTHING_CHANGED if safe else WayBack.DECLARED

    def repeatable(self, parameters: Json) -> bool:
        """By its method, or a key by which the server knows it again."""
        method, headers = parameters.get("method") or "GET", parameters.get("headers")
        return (isinstance(method, str) and method.upper() in REPEATABLE) or _has_key(headers)

    def reach(self, parameters: Json) -> bool:
        return same_from_elsewhere(parameters)

    def problems(self, parameters: Json) -> list[tuple[str, str]]:
        found = url_problems(parameters)
        if parameters.get("json") is not None and parameters.get("body") is not None:
            found.append(("body", "takes only one of json and body"))
        return found

    def check(self, run: Run) -> Found:
        """What changes nothing may simply be sent again."""
        return Found.NOT_DONE if run.parameters.method.upper() in SAFE else Found.UNKNOWN

    def execute(self, run: Run) -> Json:
        parameters = run.parameters
        if "secret://" in parameters.url:
            raise ActionError("a secret may not stand in a URL: use a header", CONFIGURATION)
        request = Exchange(
            parameters.method.upper(),
            parameters.url,
            parameters.params,
            {name: run.secret(_text(value)) for name, value in parameters.headers.items()},
            _revealed(run, parameters.json_),
            None if parameters.body is None else str(run.secret(parameters.body)).encode(),
            parameters.verify_tls,
            run.idempotent or _has_key(parameters.headers),
        )
        run.proceed()
        answer = exchange(request, remaining_s=run.remaining_s, cancelled=run.cancelled)
        expected = parameters.expect if isinstance(parameters.expect, list) else [parameters.expect]
        if not any(_fits(answer.status, one) for one in expected):
            wanted = " or ".join(map(str, expected))
            told = f"{request} answered {answer.status}, expected {wanted}{_quoted(run, answer)}"
            raise unexpected(request, answer.status, told)
        return _result(answer)


def _has_key(headers: Any) -> bool:
    return isinstance(headers, Mapping) and any(str(name).lower() == "idempotency-key" for name in headers)


def url_problems(parameters: Json) -> list[tuple[str, str]]:
    """What is wrong with ``url`` as written."""
    url = parameters.get("url")
    if not isinstance(url, str):
        return []
    if "secret://" in url:
        return [("url", "a secret may not stand in a URL: use a header")]
    if not url.startswith("${{") and not re.match(r"https?://[^/]", url):
        return [("url", f"{url!r} is no http:// or https:// URL")]
    return []


def _result(answer: Answer) -> Json:
    result: Json = {
        "status": answer.status,
        "headers": answer.headers,
        "elapsed_s": round(answer.elapsed_s, 4),
        "cut": answer.cut,
    }
    if not answer.cut and "json" in answer.headers.get("content-type", ""):
        try:
            whole = result | {"json": json.loads(answer.content)}
            if len(json.dumps(whole, ensure_ascii=False).encode()) <= MAX_RESULT_BYTES:
                return whole
        except (ValueError, RecursionError):
            pass  # the server calls it JSON and it is not: it is given as text
    text = answer.text
    result |= {"text": text}
    while len(json.dumps(result, ensure_ascii=False).encode()) > MAX_RESULT_BYTES and text:
        text = text[: len(text) // 2]
        result |= {"text": text, "cut": True}
    return result


def _fits(status: int, expected: int | str) -> bool:
    text = str(expected)
    return str(status) == text or (text.endswith("xx") and str(status)[0] == text[0])


def _quoted(run: Run, answer: Answer) -> str:
    location = answer.headers.get("location")
    to = f", to {location}" if location else ""
    body = run.mask(answer.text).strip()[:500]
    return f"{to}: {body}" if body else to


def _revealed(run: Run, value: Any) -> Any:
    """`value` with every text that names a secret replaced by it."""
    if isinstance(value, str):
        return run.secret(value)
    if isinstance(value, dict):
        return {key: _revealed(run, inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_revealed(run, inner) for inner in value]
    return value


def _text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
