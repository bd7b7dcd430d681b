"""The child process of `isolation.py`: calls one function or one method of an action type, and reports.

Run by its path under ``python -P``: neither the working directory nor this directory is on ``sys.path``, and of our
packages only `executor` is loaded, always our own. So a user's ``config.py`` is never taken for ours, nor ours
for theirs.
"""

import json
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from executor.action import ActionType, Undo

Json = dict[str, Any]
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
_TRACEBACK = 4000


class _OurExecutor:
    """Finds the package `executor` where this file lies, whatever PYTHONPATH holds."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        if name != "executor" or path is not None:
            return None
        from importlib.machinery import PathFinder

        return PathFinder.find_spec(name, [_ROOT], target)


class Worker:
    """Our end of the socket: asks the worker, one question at a time."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)  # what the code starts must not keep the socket open
        self._file = os.fdopen(fd, "rb", closefd=False)
        self._fd = fd
        self._lock = threading.Lock()

    def ask(self, do: str, **details: Any) -> Any:
        with self._lock:
            block = memoryview(json.dumps({"do": do, **details}).encode() + b"\n")
            while block:
                block = block[os.write(self._fd, block) :]
            answer = json.loads(self._file.readline())
        if "error" in answer:
            from executor.model import errors

            kind = getattr(errors, answer["error"]["type"], errors.ActionError)
            raise kind(answer["error"]["message"], errors.Classification(**answer["error"]["classification"]))
        return answer.get("value")


class RemoteSaved:
    """The device's store, through the worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def save(self, content: bytes) -> str:
        import base64

        return str(self._worker.ask("save", text=base64.b64encode(content).decode()))

    def load(self, sha256: str) -> bytes:
        import base64

        return base64.b64decode(self._worker.ask("load", text=sha256))

    @contextmanager
    def batch(self) -> Iterator["RemoteBatch"]:
        number = int(self._worker.ask("batch"))
        try:
            yield RemoteBatch(self._worker, number)
        except BaseException:
            self._worker.ask("end_batch", batch=number, keep=False)
            raise
        self._worker.ask("end_batch", batch=number, keep=True)

    def damaged(self, names: Iterable[str]) -> list[str]:
        return list(self._worker.ask("damaged", names=list(names)))

    def room(self) -> int:
        return int(self._worker.ask("room"))


class RemoteBatch:
    """A batch that the worker holds open for us; it gives it up when this process dies."""

    def __init__(self, worker: Worker, number: int) -> None:
        self._worker = worker
        self._number = number

    def add(self, content: bytes) -> str:
        import base64

        return str(self._worker.ask("add", batch=self._number, text=base64.b64encode(content).decode()))


class RemoteRun:
    """The `executor.action.Run` of the child."""

    def __init__(self, worker: Worker, request: Json, parameters: Any) -> None:
        self._worker = worker
        self.parameters = parameters
        self.execution: str = request["execution"]
        self.action: str = request["action"]
        self.device: str = request["device"]
        self.attempt: int = request["attempt"]
        self.key: str = request["key"]
        self.idempotent: bool = request["idempotent"]
        self.snapshot: Json | None = request["snapshot"]
        self.state: Json = request["state"]
        self.roots: tuple[str, ...] = tuple(request["roots"])
        self.saved = RemoteSaved(worker)
        self.log = _logger(worker)

    def remaining_s(self) -> float:
        return float(self._worker.ask("remaining_s"))

    def cancelled(self) -> bool:
        return bool(self._worker.ask("cancelled"))

    def proceed(self) -> None:
        self._worker.ask("proceed")

    def secret(self, value: str) -> str:
        return str(self._worker.ask("secret", text=value))

    def mask(self, text: str) -> str:
        return str(self._worker.ask("mask", text=text))

    def progress(self, fraction: float, message: str = "") -> None:
        self._worker.ask("progress", fraction=fraction, text=message)


def _logger(worker: Worker) -> "logging.Logger":
    import logging

    class ToWorker(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            worker.ask("log", level=record.levelno, text=self.format(record))

    log = logging.Logger("rex.actions", logging.DEBUG)
    log.addHandler(ToWorker())
    return log


def described(error: BaseException) -> Json:
    """An exception as JSON: its type, message and classification."""
    from dataclasses import asdict

    from executor.model.errors import ActionError
    from executor.policies.classification import classify

    name = type(error).__name__
    message = str(error) if isinstance(error, ActionError) else f"{name}: {error}" if str(error) else name
    kind = next((base.__name__ for base in type(error).__mro__ if base.__module__ == ActionError.__module__), "")
    return {"type": kind or name, "message": message, "classification": asdict(classify(error))}


def found(place: str) -> Any:
    """What ``package.module:name`` names."""
    import importlib

    module_name, _, path = place.partition(":")
    value: Any = importlib.import_module(module_name)
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _type_at(request: Json) -> "ActionType":
    from executor.action import ActionType, FunctionAction

    if "<" in request["origin"]:  # made inside a function: only its entry point leads there
        from importlib.metadata import entry_points

        (entry,) = entry_points(group="rex.actions", name=request["uses"])
        value = entry.load()
    else:
        value = found(request["origin"])
    if isinstance(value, FunctionAction):
        return value.as_type()
    made = value() if isinstance(value, type) else value
    if not isinstance(made, ActionType):
        raise TypeError(f"{request['origin']} is no action type but {made!r}")
    return made


def _undo(said: Json) -> "Undo":
    from executor.action import Undo

    return Undo(**{**said, "quiet": said["quiet"] and tuple(said["quiet"])})


def _of_type(worker: Worker, request: Json) -> Any:
    action_type, method = _type_at(request), request["method"]
    run = RemoteRun(worker, request, action_type.Parameters.model_validate(request["parameters"]))
    arguments = [_undo(said) if method == "compensate" else said for said in request["arguments"]]
    value = getattr(action_type, method)(run, *arguments)
    if method == "check":
        return value.name
    if method == "snapshot":
        return None if value is None else {"data": value.data, "target": value.target, "covers": value.covers}
    return value


def _of_function(request: Json) -> Any:
    function = found(request["call"])
    if request["method"] == "call":
        return function(**request["args"])
    compensation = getattr(function, "compensation", None)
    if compensation is None:
        raise TypeError(f"{request['call']} has no compensation: decorate it with @action and @its.compensate")
    import inspect

    (undo,) = request["arguments"]
    wanted = inspect.signature(compensation).parameters
    takes_all = any(each.kind is each.VAR_KEYWORD for each in wanted.values())
    given = {**request["args"], "result": undo["result"], "error": undo["error"]}
    return compensation(**{k: v for k, v in given.items() if k in wanted or (takes_all and k in request["args"])})


def _value(worker: Worker, request: Json) -> Any:
    value = _of_function(request) if request["method"] in ("call", "compensation") else _of_type(worker, request)
    if hasattr(value, "__await__"):
        import asyncio

        value = asyncio.run(_awaited(value))
    from executor.results import LARGEST_LIMIT, check_result

    # whether it is JSON is found where it was made; the worker knows the limit in force
    check_result(value, limit=LARGEST_LIMIT)
    return value


async def _awaited(value: Any) -> Any:
    return await value


def main() -> None:
    """Read one request from stdin, carry it out, report, and end at once: no thread of the code holds us up."""
    sys.meta_path.insert(0, _OurExecutor)
    request = json.loads(sys.stdin.buffer.read())
    worker = Worker(request["fd"])
    code = 0
    try:
        worker.ask("outcome", value=_value(worker, request))
    except BaseException as error:  # noqa: BLE001 - whatever the code raised is the outcome
        import traceback

        code = 1
        worker.ask("log", level=10, text="".join(traceback.format_exception(error))[-_TRACEBACK:])
        worker.ask("outcome", error=described(error))
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or 0  # the code closed it: nothing left to say
    os._exit(code)


if __name__ == "__main__":
    main()
