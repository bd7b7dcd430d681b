"""The documents of this worker's devices: fetched when there is news, written to disk, acknowledged."""

import contextlib
import copy
import fcntl
import json
import logging
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from executor.action import Json
from executor.model.errors import RexError
from executor.model.state import Document, Known

_log = logging.getLogger("rex.states")

_AGAIN_S = 1.0
"""What could not be fetched or written is tried again after so long."""


class DocumentsLedger(Protocol):
    def known(self, devices: Sequence[str]) -> dict[str, Known]: ...
    def state_of(self, device: str) -> Document | None: ...
    def acknowledge(self, incarnation: str, device: str, version: int) -> str: ...


class DeviceStates:
    """What this worker's devices are told to know, as files ``state/DEVICE.json`` of the state directory.

    Several processes may serve one device: who writes holds a lock, and asks the ledger inside it what is to be
    written, so an older document never takes the place of a newer one.
    """

    def __init__(self, ledger: DocumentsLedger, incarnation: str, folder: Path, devices: Sequence[str]) -> None:
        self._ledger = ledger
        self._incarnation = incarnation
        self._folder = folder
        self._devices = tuple(devices)
        self._held: dict[str, tuple[int, int]] = {}
        """Version and time of what lies on the disk, by device."""
        self._documents: dict[str, Json] = {}
        self._news = -1
        self._wanted = 0
        self._changed = threading.Condition()
        self._ended = False

    def start(self) -> None:
        """Look once, so that no action runs without what is known already; then whenever there is news."""
        self._read_all()
        self._look()
        threading.Thread(target=self._run, name="rex-states", daemon=True).start()

    def stop(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def notice(self, news: int) -> None:
        """Called with each renewal; `news` moves when any device got a new document."""
        with self._changed:
            if news != self._wanted:
                self._wanted = news
                self._changed.notify_all()

    def of(self, device: str) -> Json:
        """The document of one of our devices, for whoever asks to keep; empty where it has none."""
        return copy.deepcopy(self._documents.get(device, {}))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._news != self._wanted)
                if self._ended:
                    return
            if not self._look():
                with self._changed:
                    self._changed.wait_for(lambda: self._ended, timeout=_AGAIN_S)

    def _look(self) -> bool:
        """Get what is new; False where that has to be tried again."""
        with self._changed:
            wanted = self._wanted
        try:
            new = [
                device
                for device, known in self._ledger.known(self._devices).items()
                if known.version and not (known.current and self._held.get(device) == (known.version, known.at_ms))
            ]
        except RexError as error:
            _log.warning("cannot ask for new documents: %s", error)
            return False
        tried = [self._taken(device) for device in new]  # each, whatever becomes of the others
        if not all(tried):
            return False
        self._news = wanted
        return True

    def _taken(self, device: str) -> bool:
        try:
            self._take(device)
        except (RexError, OSError, ValueError) as error:
            _log.warning("the document of %s cannot be taken over yet: %s", device, error)
            return False
        return True

    def _take(self, device: str) -> None:
        with self._locked():
            document = self._ledger.state_of(device)
            if document is None:
                return
            self._read(device)
            if self._held.get(device) != (document.version, document.at_ms):
                self._write(device, document)
        answer = self._ledger.acknowledge(self._incarnation, device, document.version)
        _log.info("%s has version %d of its document: %s", device, document.version, answer)

    # -- files --------------------------------------------------------------------------------------------------------

    def _path(self, device: str) -> Path:
        return self._folder / f"{device}.json"

    def _read_all(self) -> None:
        for device in self._devices:
            self._read(device)

    def _read(self, device: str) -> None:
        """What lies on the disk; something else than we wrote counts as nothing, and is written anew."""
        self._held.pop(device, None)
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            told = json.loads(self._path(device).read_text(encoding="utf-8"))
            held, document = (int(told["version"]), int(told["at_ms"])), told["document"]
            if isinstance(document, dict):
                self._held[device], self._documents[device] = held, document

    def _write(self, device: str, document: Document) -> None:
        path, content = self._path(device), json.loads(document.text)
        told: Any = {"device": device, "version": document.version, "at_ms": document.at_ms, "document": content}
        for leftover in self._folder.glob(f".{path.name}.*"):  # of one who was killed: we hold the lock
            leftover.unlink(missing_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(
                os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
            ) as file:
                json.dump(told, file, ensure_ascii=False)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._held[device], self._documents[device] = (document.version, document.at_ms), content

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
