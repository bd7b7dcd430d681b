"""A fake cloud over HTTP: worlds with state and real rules, which fail when they are told to.

Each world has a path of its own: ``http://127.0.0.1:PORT/w7/volumes/vol-1``. What every mutating call did stands in an
effect log. By hand: ``PYTHONPATH=tests python -m support.cloud 8099``; ``GET /w7/world`` and ``GET /w7/log`` show it,
``PUT /w7/fault`` with ``{"call": 4, "how": "refuse"}`` makes it fail.
"""

import copy
import json
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from support.cloud_api import Api, Refused

How = Literal["refuse", "spoil", "lose", "hold", "hold-done"]


@dataclass
class Fault:
    """What goes wrong at the `call`-th mutating call, or at the step of that name; repeats of a call are that call."""

    how: How
    """refuse: `status`, not done. spoil: done, then `status`. lose: done, then hung up. hold, hold-done: not answered
    before `release`, or after `seconds`; the one waits before it is done, the other when it is done."""
    call: int = 0
    step: str = ""
    status: int = 403
    times: int = 10_000
    seconds: float = 60.0
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    dropped: bool = False

    def hits(self, number: int, step: str) -> bool:
        if self.times <= 0 or not (number == self.call or (self.step and self.step == step)):
            return False
        self.times -= 1
        self.reached.set()
        return True

    def release(self, *, dropped: bool = False) -> None:
        """Let a held call go on; dropped: it never arrived."""
        self.dropped = dropped
        self.released.set()


@dataclass(frozen=True)
class Effect:
    """One mutating call that was carried out: the step that asked for it, the answer, what it changed."""

    step: str
    call: str
    status: int
    touched: tuple[str, ...] = ()


def start() -> dict[str, Any]:
    """The world as it is before anything was done."""
    nodes = {f"db-{n}": {"role": "replica", "upstream": "db-1", "read_only": True, "usual_lag": n} for n in (2, 3, 4)}
    nodes["db-1"] = {"role": "primary", "upstream": None, "read_only": False, "usual_lag": 2}
    disks = {"vol-1": ("/dev/sda1", 8), "vol-2": ("/dev/sdb", 100)}
    servers = ("web-1", "web-2", "web-3")
    world: dict[str, Any] = {
        "keys": {"old-key": {}, "new-key": {}},
        "instances": {"i-1": {"state": "running", "root_device": "/dev/sda1"}},
        "volumes": {
            name: {"state": "in-use", "instance": "i-1", "device": device, "size_gb": size, "key": "old-key"}
            for name, (device, size) in disks.items()
        },
        "snapshots": {},
        "releases": {"1.4": {"works": True}, "2.0": {"works": True}, "2.1": {"works": False}},
        "servers": {name: {"state": "ready", "version": "1.4"} for name in servers},
        "targets": {name: {"state": "in-service"} for name in servers},
        "balancer": {"web": {"at_least": 2}},
        "nodes": {name: {**node, "lag": 0 if name == "db-1" else node["usual_lag"]} for name, node in nodes.items()},
        "dns": {"writer": {"target": "db-1"}},
    }
    return {kind: {name: {"id": name, **item} for name, item in items.items()} for kind, items in world.items()}


def resting(data: dict[str, Any]) -> dict[str, Any]:
    """Where a world is going: every resource as it is when nothing is on its way any more."""
    return {f"{kind}/{name}": item for kind, items in data.items() for name, item in _at_rest(items)}


def _at_rest(items: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, item in items.items():
        plain = {key: value for key, value in item.items() if key != "pending"}
        to = item["pending"]["to"] if "pending" in item else {}
        if to is not None:
            yield name, plain | to


def _told(item: Any) -> Any:
    """A resource as the API tells of it: not what it will become."""
    if isinstance(item, list):
        return [_told(one) for one in item]
    return {key: value for key, value in item.items() if key != "pending"}


def differing(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, ...]:
    """Resources that are not the same in two worlds at rest; how far a replica lags is no one's doing."""
    old, new = ({name: {**item, "lag": 0} for name, item in world.items()} for world in (before, after))
    return tuple(sorted(name for name in {*old, *new} if old.get(name) != new.get(name)))


class World:
    """One world, its effect log and its faults."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.effects: list[Effect] = []
        self.faults: list[Fault] = []
        self._api = Api(start())
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}
        self._answers: dict[str, tuple[int, Any]] = {}

    @property
    def data(self) -> dict[str, Any]:
        with self._lock:
            return copy.deepcopy(self._api.data)

    def fail(self, how: How, **fields: Any) -> Fault:
        self.faults.append(Fault(how, **fields))
        return self.faults[-1]

    def handle(self, method: str, path: str, body: dict[str, Any], key: str) -> tuple[int, Any] | None:
        """The answer to a call; None: the connection is closed without one."""
        if path == "/world":
            return 200, self.data
        if path == "/log":
            return 200, [vars(effect) for effect in self.effects]
        if path == "/fault" and method == "PUT":
            return 200, vars(self.fail(**body))["how"]
        if method == "GET":
            with self._lock:
                return self._called(method, path, body)
        fault = self._fault(key or f"{method} {path}")
        if fault is None:
            return self._change(method, path, body, key)
        if fault.how == "refuse":
            return fault.status, {"error": "told to refuse"}
        if fault.how == "hold":
            fault.released.wait(fault.seconds)
            return None if fault.dropped else self._change(method, path, body, key)
        answer = self._change(method, path, body, key)
        if fault.how == "hold-done":
            fault.released.wait(fault.seconds)
            return answer
        return None if fault.how == "lose" else (fault.status, {"error": "told to fail when it was done"})

    def _fault(self, identity: str) -> Fault | None:
        with self._lock:
            number = self._numbers.setdefault(identity, len(self._numbers) + 1)
            step = identity.rpartition("/")[2]
            return next((fault for fault in self.faults if fault.hits(number, step)), None)

    def _change(self, method: str, path: str, body: dict[str, Any], key: str) -> tuple[int, Any]:
        """One mutating call; one that was carried out under the same key is only answered again."""
        with self._lock:
            if key in self._answers:
                return self._answers[key]
            before = resting(copy.deepcopy(self._api.data))
            answer = self._called(method, path, body)
            touched = differing(before, resting(self._api.data))
            self.effects.append(Effect(key.rpartition("/")[2], f"{method} {path}", answer[0], touched))
            if key and answer[0] < 300:
                self._answers[key] = copy.deepcopy(answer)
            return answer

    def _called(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        try:
            return 200, _told(self._api.call(method, path, body))
        except Refused as refused:
            return refused.status, {"error": str(refused)}
        except KeyError as missing:
            return 400, {"error": f"{missing} is missing"}


class Cloud:
    """Many worlds behind one port."""

    def __init__(self, port: int = 0) -> None:
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.cloud = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._worlds: dict[str, World] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def world(self, name: str = "") -> World:
        """The world of that name; it begins when it is first asked for. Without a name: a new one."""
        with self._lock:
            name = name or f"w{len(self._worlds) + 1}"
            return self._worlds.setdefault(name, World(f"{self.url}/{name}"))

    def close(self) -> None:
        for world in self._worlds.values():
            for fault in world.faults:
                fault.release(dropped=True)
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    cloud: Cloud

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is killed hangs up; anything else is a mistake of the fake."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        name, _, path = parts.path.lstrip("/").partition("/")
        sent = self.rfile.read(int(self.headers.get("content-length", 0)))
        body = dict(parse_qsl(parts.query)) | (json.loads(sent) if sent else {})
        key = self.headers.get("idempotency-key", "")
        answer = self.server.cloud.world(name).handle(self.command, f"/{path}", body, key)
        if answer is None:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        content = json.dumps(answer[1], sort_keys=True).encode()
        self.send_response(answer[0])
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, *_: Any) -> None:
        pass


if __name__ == "__main__":
    shown = Cloud(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    sys.stdout.write(f"{shown.url}/demo\n")
    sys.stdout.flush()
    threading.Event().wait()
