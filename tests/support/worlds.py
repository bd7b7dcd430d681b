"""Attempts at actions, real processes and a real HTTP server for the tests of the workers' parts."""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from executor.action import ActionType, Undo
from rollback.stores import MemoryStore
from workers.run import ActionRun, perform

ROOT = Path(__file__).resolve().parents[2]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


class Bench:
    """Makes attempts and carries actions through, as the engine does."""

    def __init__(self) -> None:
        self.saved = MemoryStore()
        self.progress: list[tuple[float, str]] = []
        self.cancel = threading.Event()

    def run(self, action_type: ActionType, timeout_s: float = 20.0, key: str = "key", **parameters: Any) -> ActionRun:
        return ActionRun(
            parameters=action_type.Parameters.model_validate(parameters),
            execution="execution",
            action="the-action",
            device="edge-1",
            attempt=1,
            key=key,
            deadline=time.monotonic() + timeout_s,
            saved=self.saved,
            cancelled=self.cancel.is_set,
            report=lambda fraction, message: self.progress.append((fraction, message)),
        )

    def execute(self, action_type: ActionType, **parameters: Any) -> Any:
        return perform(action_type, "execute", self.run(action_type, **parameters))

    def begin(self, action_type: ActionType, **parameters: Any) -> ActionRun:
        """Take the snapshot; a run that has it."""
        run = self.run(action_type, **parameters)
        snapshot = perform(action_type, "snapshot", run)
        run.snapshot = None if snapshot is None else snapshot.data
        return run

    def do(self, action_type: ActionType, **parameters: Any) -> tuple[Any, Callable[[], Any]]:
        """Snapshot, execute, verify: the result, and how to take it back."""
        run = self.begin(action_type, **parameters)
        result = perform(action_type, "execute", run)
        perform(action_type, "verify", run, result)
        return result, lambda: self.undo(action_type, run, result)

    def undo(self, action_type: ActionType, run: ActionRun, result: Any = None) -> Any:
        again = self.run(action_type, key="another key")
        return perform(action_type, "compensate", again, Undo(snapshot=run.snapshot, result=result))


class FileBench(Bench):
    def run(self, action_type: ActionType, timeout_s: float = 20.0, key: str = "key", **parameters: Any) -> ActionRun:
        if "path" in action_type.Parameters.model_fields:
            parameters = {"path": "/nowhere", **parameters}
        return super().run(action_type, timeout_s, key, **parameters)


class Server:
    """A web server on loopback; `answers` decides."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: Callable[[BaseHTTPRequestHandler, int], None] = lambda handler, _count: reply(handler, 200)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                outer.seen.append((self.command, self.path, dict(self.headers), body))
                outer.answers(self, len(outer.seen))

            do_POST = do_PUT = do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """A client that hangs up is part of the tests."""

        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", kind: str = "text/plain") -> None:
    handler.send_response(status)
    handler.send_header("content-type", kind)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


class Tree:
    """A command whose children do what they can to escape: setsid, double fork, ignored signals."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "stay.sh").write_text(
            f"trap '' TERM HUP INT\necho $$ > {folder}/$1.pid.new\nmv {folder}/$1.pid.new {folder}/$1.pid\n"
            "while :; do sleep 0.05; done\n"
        )
        stay = f"sh {folder}/stay.sh"
        self.command = f"setsid {stay} own-session & ( setsid {stay} double-fork & ) ; {stay} plain & {stay} main"
        self.names = ("own-session", "double-fork", "plain", "main")

    def pids(self) -> list[int]:
        return [int(path.read_text()) for path in self.folder.glob("*.pid")]

    def is_up(self) -> bool:
        return all((self.folder / f"{name}.pid").exists() for name in self.names)

    def is_gone(self) -> bool:
        assert self.is_up(), "the tree never stood"
        return not any(is_alive(pid) for pid in self.pids())
