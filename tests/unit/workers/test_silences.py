"""Who is silent for how long, by the watchdog's own clock."""

from executor.model.execution import Pulse
from workers.watchdog import SETTLE_DOWN_S, Silences

START_MS = 1_800_000_000_000


class Watch:
    """Polls every 0.2 s of two clocks that run alike, unless a test moves one."""

    def __init__(self) -> None:
        self.silences = Silences(0.75)
        self.now, self.server_ms = 100.0, START_MS
        self.renewed: dict[str, int] = {}
        self.counters: dict[str, int] = {}

    def poll(self, step_s: float = 0.2) -> dict[str, float]:
        self.now += step_s
        self.server_ms += round(step_s * 1000)
        return self.look()

    def look(self) -> dict[str, float]:
        silent = {
            name: at for name, at in self.renewed.items() if at <= self.server_ms - 750 or at > self.server_ms
        }  # fmt: skip
        pulse = Pulse("run", self.server_ms, silent, self.counters, 0)
        return {name: round(s, 3) for name, s in self.silences.silent(pulse, self.now)}

    def renew(self, *names: str) -> None:
        for name in names:
            self.renewed[name] = self.server_ms


def test_silence_is_counted_from_the_last_renewal() -> None:
    watch = Watch()
    watch.renew("w1", "w2")
    told = []
    for _ in range(12):
        watch.renew("w2")
        told.append(watch.poll())
    assert all("w2" not in silent for silent in told)
    assert told[2] == {}
    assert told[3] == {"w1": 0.8}
    assert told[9] == {"w1": 2.0}


def test_a_new_watch_believes_its_own_eyes_only() -> None:
    """What a server says of long ago is not held against anybody at the first look."""
    watch = Watch()
    watch.renewed["w1"] = START_MS - 60_000
    assert watch.poll() == {"w1": 0.0}
    assert watch.poll() == {"w1": 0.2}


def test_a_clock_that_is_put_forward_buries_nobody() -> None:
    watch = Watch()
    for _ in range(5):
        watch.renew("w1")
        watch.poll()
    watch.server_ms += 3_600_000
    assert watch.poll() == {"w1": 0.0}
    watch.renew("w1")
    assert watch.poll() == {}


def test_a_small_jump_is_bounded_by_our_own_clock() -> None:
    watch = Watch()
    for _ in range(5):
        watch.renew("w1")
        watch.poll()
    watch.server_ms += 900
    assert watch.poll()["w1"] <= 0.2 + 0.75


def test_who_died_before_the_clock_was_put_back_is_seen_all_the_same() -> None:
    watch = Watch()
    watch.renew("w1", "w2")
    watch.poll()
    watch.server_ms -= 3_600_000
    last = {}
    for _ in range(11):
        watch.renew("w2")
        last = watch.poll()
    assert last == {"w1": 2.0}


def test_our_own_freeze_is_nobodys_death() -> None:
    """Others may have stood still with us."""
    watch = Watch()
    for _ in range(5):
        watch.renew("w1")
        watch.poll()
    assert watch.poll(5.0) == {"w1": 0.0}
    assert watch.poll() == {"w1": 0.2}


def test_workers_of_the_release_before_are_counted() -> None:
    watch = Watch()
    watch.counters = {"old": 7}
    for number in range(3):
        watch.counters["old"] += 1
        assert watch.poll() == {"old": 0.0}, number
    assert watch.poll() == {"old": 0.2}
    assert watch.poll() == {"old": 0.4}


def test_calm_starts_all_clocks_anew_and_tells_of_nobody_for_a_while() -> None:
    watch = Watch()
    watch.renew("w1")
    for _ in range(5):
        watch.poll()
    watch.silences.calm(watch.now)
    polls = [watch.poll() for _ in range(round(SETTLE_DOWN_S / 0.2) + 1)]
    assert polls[:14] == [{}] * 14
    assert 2.5 < polls[-1]["w1"] <= 3.0
