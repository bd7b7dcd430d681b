"""What the leading watchdog costs: its share of a core with many live workers, one for each device."""

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from config.settings import Settings
from executor.ledger.valkey import ValkeyLedger
from executor.model.device import Announcement
from workers.health import HealthWatch
from workers.letters import Sought
from workers.stages import StageWatch
from workers.watchdog import TICK_S, Watchdog

_RENEWING = """
import sys, threading
from executor.ledger.connection import connect
client, pause = connect(sys.argv[1], name="renewing", patience_s=1), threading.Event()
names = client.hkeys("rex:{0}:W")
while not pause.wait(0.5):
    seconds, micros = client.time()
    pipe = client.pipeline(transaction=False)
    pipe.zadd("rex:{0}:seen", dict.fromkeys(names, seconds * 1000 + micros // 1000))
    for name in names:
        pipe.hincrby("rex:{0}:W", name, 1)
    pipe.execute()
"""
"""What the scripts of all workers write each half second, without the cost of as many clients."""


class _NoMessages:
    keeps_for_the_silent = False

    def restore(self, owner: str) -> int:
        raise AssertionError(f"{owner} lives")

    def lost(self, sought: Sequence[Sought], owners: object) -> set[Sought]:  # noqa: ARG002
        raise AssertionError(f"nothing is lost, and {len(sought)} messages are sought")


def share_of_a_core(url: str, *, devices: int, seconds: float) -> float:
    """The processor time of the watchdog's thread, divided by the time that passed.

    Args:
        url: a ledger in which nothing else happens.
        devices: with a live worker each.
        seconds: for how long to measure.
    """
    ledger = ValkeyLedger(url, name="rex:watch")
    with _renewing(ledger, devices):
        watchdog = _watchdog(ledger)
        pause = threading.Event()
        watchdog.tick()  # the first one reads every announcement
        while ledger.pulse(0.75).silent:  # they have not begun to renew
            pause.wait(TICK_S)
        began, used = time.monotonic(), time.thread_time()
        while time.monotonic() - began < seconds:
            watchdog.tick()
            pause.wait(TICK_S)
        share = (time.thread_time() - used) / (time.monotonic() - began)
    if len(ledger.workers()) != devices:
        raise AssertionError(f"{devices - len(ledger.workers())} living workers were declared dead")
    ledger.close()
    return share


def _watchdog(ledger: ValkeyLedger) -> Watchdog:
    def nobody(*_: Any) -> Any:
        raise AssertionError("nothing is stranded")

    settings = Settings()
    stages = StageWatch(ledger, _NoMessages(), nobody, nobody, settings.distributed.device_wait)
    return Watchdog(
        ledger, _NoMessages(), stages, HealthWatch(ledger, settings), settings, name="bench", one_machine=False
    )


@contextlib.contextmanager
def _renewing(ledger: ValkeyLedger, devices: int) -> Iterator[None]:
    for n in range(devices):
        announced = Announcement(devices=(f"edge-{n}",), actions=("command", "wait"), host=f"host-{n}")
        ledger.register(f"host-{n}-{n:012x}", announced)
    process = subprocess.Popen([sys.executable, "-c", _RENEWING, ledger.url])
    try:
        yield
    finally:
        process.kill()
        process.wait()
