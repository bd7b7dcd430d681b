"""Code that may hang or hold the interpreter, run in a child process that is killed at the deadline.

The child (`child.py`) runs under the same supervisor as a command. It asks for everything that a `Run` offers over
a socket, so deadline, token, secrets and saved bytes are judged here, in one place. What it prints is logged.
"""

import base64
import contextlib
import itertools
import json
import logging
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from executor.action import ActionType, Batch, Found, Json, Run, Snapshot, Undo
from executor.model.errors import (
    PERMANENT,
    ActionCancelled,
    ActionError,
    ActionTimedOut,
    ChangedSince,
    Classification,
    Interrupted,
    Unanswered,
)
from workers.actions.child import described
from workers.actions.processes import inherited_environment, run_process

_CHILD = str(Path(__file__).resolve().parent / "child.py")
_ERRORS = {kind.__name__: kind for kind in (ActionTimedOut, ActionCancelled, ChangedSince, Interrupted, Unanswered)}


def call_isolated(action_type: ActionType, method: str, run: Run, arguments: Sequence[Any]) -> Any:
    """Call `method` of `action_type` in a child; its value, `Found` or `Snapshot`.

    Raises:
        ActionError: what the code raised, with its classification; or the child was killed, or died.
    """
    request = {
        "origin": action_type.origin(),
        "uses": action_type.uses,
        "method": method,
        "parameters": run.parameters.model_dump(mode="json", by_alias=True, exclude_unset=True),
        "arguments": [_plain(argument) for argument in arguments],
    }
    value = converse(run, request, f"{method} of {action_type.uses}")
    if method == "check":
        return Found[value]
    if method == "snapshot":
        return None if value is None else Snapshot(value["data"], value["target"], tuple(value["covers"]))
    return value


def call_function(run: Run, call: str, args: Json) -> Any:
    """Call ``package.module:function`` with `args` in a child; its JSON value.

    Raises:
        ActionError: as `call_isolated`.
    """
    return converse(run, {"method": "call", "call": call, "args": args}, call)


def call_compensation(run: Run, call: str, args: Json, undo: Undo) -> Any:
    """Call the ``compensate`` of the `FunctionAction` that `call` names.

    Raises:
        ActionError: as `call_isolated`; or it has none.
    """
    request = {"method": "compensation", "call": call, "args": args, "arguments": [_plain(undo)]}
    return converse(run, request, f"compensate of {call}")


def converse(run: Run, request: Json, name: str) -> Any:
    """Start a child, answer what it asks, and return what it reports at the end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        request |= {
            "fd": theirs.fileno(),
            "execution": run.execution,
            "action": run.action,
            "device": run.device,
            "attempt": run.attempt,
            "key": run.key,
            "idempotent": run.idempotent,
            "snapshot": run.snapshot,
            "state": run.state,
            "roots": list(run.roots),
        }
        counter = _Counter(run, ours)
        thread = threading.Thread(target=counter.serve, name=f"child of {run.action}", daemon=True)
        thread.start()
        try:
            finished = run_process(
                [sys.executable, "-P", _CHILD],
                name=name,
                env=inherited_environment(),
                stdin=json.dumps(request).encode(),
                remaining_s=run.remaining_s,
                cancelled=run.cancelled,
                pass_fds=[theirs.fileno()],
            )
        finally:
            ours.shutdown(socket.SHUT_RDWR)
            thread.join()
    for stream, said in (("stdout", finished.text), ("stderr", finished.error_text)):
        if said.strip():
            run.log.info("%s of %s: %s", stream, name, said.rstrip())
    if counter.outcome is None:
        words = finished.last_words.decode("utf-8", "replace").strip()[-500:]
        raise ActionError(
            f"{name}: its process ended with {finished.exit_code} before it returned" + (f": {words}" if words else "")
        )
    if (error := counter.outcome.get("error")) is not None:
        raise rebuilt(error)
    return counter.outcome.get("value")


def rebuilt(error: Json) -> ActionError:
    """The error that a child described."""
    kind = _ERRORS.get(error["type"], ActionError)
    return kind(error["message"], Classification(**error["classification"]))


class _GivenUp(Exception):
    """Ends a batch that must not count."""


class _Counter:
    """Answers one child: each line a request with ``do``, each answer a line with ``value`` or ``error``."""

    def __init__(self, run: Run, end: socket.socket) -> None:
        self.run = run
        self.end = end
        self.outcome: Json | None = None
        self.offers: dict[str, Callable[[Json], Any]] = {
            "outcome": self._keep,
            "proceed": lambda _: run.proceed(),
            "cancelled": lambda _: run.cancelled(),
            "remaining_s": lambda _: run.remaining_s(),
            "secret": lambda ask: run.secret(ask["text"]),
            "mask": lambda ask: run.mask(ask["text"]),
            "progress": lambda ask: run.progress(ask["fraction"], ask["text"]),
            "log": lambda ask: run.log.log(ask.get("level", logging.INFO), "%s", ask["text"]),
            "save": lambda ask: run.saved.save(base64.b64decode(ask["text"])),
            "load": lambda ask: base64.b64encode(run.saved.load(ask["text"])).decode(),
            "damaged": lambda ask: run.saved.damaged(ask["names"]),
            "room": lambda _: run.saved.room(),
            "batch": lambda _: self._begin_batch(),
            "add": lambda ask: self._batches[ask["batch"]][1].add(base64.b64decode(ask["text"])),
            "end_batch": lambda ask: self._end_batch(ask["batch"], keep=ask["keep"]),
        }
        self._batches: dict[int, tuple[AbstractContextManager[Batch], Batch]] = {}
        self._numbers = itertools.count()

    def _begin_batch(self) -> int:
        number, context = next(self._numbers), self.run.saved.batch()
        self._batches[number] = (context, context.__enter__())
        return number

    def _end_batch(self, number: int, *, keep: bool) -> None:
        context, _ = self._batches.pop(number)
        if keep:
            context.__exit__(None, None, None)
            return
        given_up = _GivenUp("the code that saved was broken off")
        with contextlib.suppress(_GivenUp):
            context.__exit__(_GivenUp, given_up, None)

    def _keep(self, ask: Json) -> None:
        if self.outcome is None:
            self.outcome = ask

    def serve(self) -> None:
        with self.end.makefile("rwb") as file:
            try:
                for line in file:
                    file.write(json.dumps(self._answer(line)).encode() + b"\n")
                    file.flush()
            except OSError:
                self.run.log.debug("the child of %s went away", self.run.action)
            finally:
                for number in list(self._batches):
                    self._end_batch(number, keep=False)

    def _answer(self, line: bytes) -> Json:
        try:
            ask = json.loads(line)
            return {"value": self.offers[ask["do"]](ask)}
        except Exception as error:  # noqa: BLE001 - told to the child, whose code raises it
            return {"error": described(error)}


def _plain(argument: Any) -> Any:
    if isinstance(argument, Undo):
        return asdict(argument)
    try:
        json.dumps(argument)
    except (TypeError, ValueError) as error:
        raise ActionError(f"an argument for the child process is not JSON: {error}", PERMANENT) from error
    return argument
