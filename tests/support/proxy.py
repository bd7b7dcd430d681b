"""A TCP proxy between a process and the server, which delays, cuts, and loses answers."""

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

_BLOCK = 1 << 16


class Proxy:
    """Listens for one device; ended by `close`."""

    def __init__(self, listener: socket.socket, server: Path) -> None:
        """
        Args:
            listener: a bound socket that listens already; it may come from another network namespace.
            server: the unix socket of the real server.
        """
        self.delay_s = 0.0
        """Added to every block in either direction."""
        self.lost_answers = 0
        """How many answers were lost so far."""
        self._listener = listener
        self._server = server
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._text = b""
        self._from = self._until = self._count = 0
        self._closed = False
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def delay(self, seconds: float) -> None:
        self.delay_s = seconds

    def lose_answers(self, text: str, *, first: int = 1, times: int = 1) -> None:
        """Of requests that hold `text`, from now on: forward the first, or a later one, drop its answer, and close its
        connection, so many times. An empty text ends it."""
        with self._lock:
            self._text, self._count = text.encode(), 0
            self._from, self._until = first, first + times

    def cut(self) -> int:
        """Close every connection that there is; new ones are let in. Says how many there were."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._end(pair)
        return len(pairs)

    def close(self) -> None:
        self._closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(self._server))
            except OSError:
                client.close()
                server.close()
                continue
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = (client, server)
            with self._lock:
                self._pairs.add(pair)
            deaf = threading.Event()
            threading.Thread(target=self._forward, args=(pair, deaf), name="proxy-to", daemon=True).start()
            threading.Thread(target=self._answer, args=(pair, deaf), name="proxy-from", daemon=True).start()

    def _forward(self, pair: tuple[socket.socket, socket.socket], deaf: threading.Event) -> None:
        client, server = pair
        with suppress(OSError):
            while block := client.recv(_BLOCK):
                if self._is_to_be_lost(block):
                    deaf.set()
                self._pause()
                server.sendall(block)
        if not deaf.is_set():
            self._end(pair)

    def _answer(self, pair: tuple[socket.socket, socket.socket], deaf: threading.Event) -> None:
        client, server = pair
        with suppress(OSError):
            while block := server.recv(_BLOCK):
                if deaf.is_set():
                    # the server has done it; nobody is told
                    self.lost_answers += 1
                    break
                self._pause()
                client.sendall(block)
        self._end(pair)

    def _is_to_be_lost(self, block: bytes) -> bool:
        with self._lock:
            if not self._text or self._text not in block:
                return False
            self._count += 1
            return self._from <= self._count < self._until

    def _pause(self) -> None:
        if self.delay_s:
            threading.Event().wait(self.delay_s)

    def _end(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            self._pairs.discard(pair)
        for one in pair:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def listening_inside(namespace: Path, port: int) -> socket.socket:
    """A listening socket on every address of a network namespace, made by a thread of ours that goes there."""
    made: list[socket.socket] = []

    def go() -> None:
        # a thread of its own: this way only it is elsewhere, and it ends at once
        descriptor = os.open(namespace, os.O_RDONLY)
        try:
            _setns(descriptor)
            made.append(socket.create_server(("0.0.0.0", port), backlog=64))
        finally:
            os.close(descriptor)

    thread = threading.Thread(target=go, name="namespace")
    thread.start()
    thread.join()
    return made[0]


def _setns(descriptor: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, 0x40000000) != 0:  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "setns")
