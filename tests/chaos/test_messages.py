"""Messages that come twice, late or in another order; answers that are lost after the server has done it."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from support.fleet import Fleet
from support.network import require_network
from support.shapes import Wish, drawn
from support.trial import Fault, cases, endure, long_run

from executor.ledger import scripts

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(0 if long_run() else 180)]

SCRIPTS = ("claim", "settle", "renew")
MOMENTS = ("forward", "rollback")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """All that edge-1 says goes through a proxy."""
    require_network()
    made = Fleet(tmp_path_factory.mktemp("f"), ["edge-1", "edge-2"])
    try:
        made.behind_proxy("edge-1")
        yield made.start()
    finally:
        made.close()


def wish(fleet: Fleet, moment: str) -> Wish:
    return Wish(fleet.devices, fleet.folder / "world", naps=(0.05, 0.3, 0.8), fails=1 if moment == "rollback" else 0.3)


def sha(script: str) -> str:
    """By which a call of it can be told on the wire."""
    return hashlib.sha1(scripts.source(script).encode(), usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(("script", "moment"), cases(((s, m) for s in SCRIPTS for m in MOMENTS), ("settle", "forward")))
def test_the_server_did_it_and_the_answer_is_lost(fleet: Fleet, script: str, moment: str) -> None:
    """Three answers in a row, beginning with the next."""
    fleet.ready()
    proxy = fleet.proxies["edge-1"]
    before = proxy.lost_answers
    lose = Fault(lambda _: proxy.lose_answers(sha(script), times=3), 2.0, lambda _: proxy.lose_answers(""), ("edge-1",))
    endure(fleet, drawn(wish(fleet, moment)), moment, lose)
    assert proxy.lost_answers > before, "no answer was lost"


@pytest.mark.parametrize("moment", cases(MOMENTS))
@pytest.mark.parametrize("delay_s", [0.05, 0.3])
def test_everything_comes_late(fleet: Fleet, delay_s: float, moment: str) -> None:
    fleet.ready()
    proxy = fleet.proxies["edge-1"]
    late = Fault(lambda _: proxy.delay(delay_s), 4.0, lambda _: proxy.delay(0.0), ("edge-1",))
    endure(fleet, drawn(wish(fleet, moment)), moment, late)


@pytest.mark.parametrize("moment", cases(MOMENTS))
def test_every_connection_is_cut_again_and_again(fleet: Fleet, moment: str) -> None:
    fleet.ready()
    repeated = Repeated(fleet.proxies["edge-1"].cut, every_s=0.4)
    endure(fleet, drawn(wish(fleet, moment)), moment, Fault(repeated.begin, 4.0, repeated.end, ("edge-1",)))
    assert repeated.counted > 0


@pytest.mark.parametrize("moment", cases(MOMENTS, "rollback"))
def test_messages_come_twice_and_in_another_order(fleet: Fleet, moment: str) -> None:
    """What is being worked on is delivered again, twice; what waits changes places."""
    fleet.ready()
    server = fleet.redis()
    repeated = Repeated(lambda: doubled(server) + turned(server), every_s=0.1)
    try:
        endure(
            fleet, drawn(wish(fleet, moment)), moment, Fault(repeated.begin, 3.0, repeated.end, ("edge-1",)), count=6
        )
    finally:
        server.close()
    assert repeated.counted > 0, "no message was delivered twice"


class Repeated:
    """Does something again and again, from a thread of its own, until it is over."""

    def __init__(self, act: Callable[[], int], *, every_s: float) -> None:
        self.counted = 0
        self._act = act
        self._every_s = every_s
        self._over = threading.Event()

    def begin(self, _: Fleet) -> None:
        self._over.clear()
        self._thread = threading.Thread(target=self._run, name="repeated")
        self._thread.start()

    def end(self, _: Fleet) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            self.counted += self._act()


def doubled(server: redis.Redis) -> int:
    """Deliver again what is being worked on, at most once each time; how many messages that were."""
    count = 0
    for key in server.scan_iter("unacked:*", count=1000):
        for raw in server.hvals(key):
            message, _, queue = json.loads(raw)
            server.lpush(queue, json.dumps(message))
            count += 1
    return count


def turned(server: redis.Redis) -> int:
    """Let the first of each queue become the last."""
    return sum(bool(server.rpoplpush(queue, queue)) for queue in queues(server))


def queues(server: redis.Redis) -> list[Any]:
    return [key for key in server.scan_iter(count=1000) if key == "control" or str(key).startswith("device.")]
