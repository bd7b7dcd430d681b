"""How many processes: more at once when work waits, fewer after a while with little to do, and never to and fro."""

import random

import pytest

from executor.policies.scaling import STEADY_S, Bounds, Load, Past, decide

BOUNDS = Bounds(least=1, most=4, depth=10, wait_s=2.0, idle_s=30.0)


def load(wanted: int = 1, **seen: float) -> Load:
    given = {"registered": wanted, "room": 4, "running": 0, "waiting": 0, "oldest_s": 0.0, **seen}
    return Load(wanted=wanted, **given)  # type: ignore[arg-type]


def number(seen: Load, past: Past | None = None, now: float = 1000.0, bounds: Bounds = BOUNDS) -> int:
    return decide(seen, bounds, past or Past(), now)[0]


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (load(running=4, waiting=3, oldest_s=1.0), 1),  # that is what it can do
        (load(running=4, waiting=3, oldest_s=2.1), 2),  # it waits too long
        (load(running=4, waiting=11), 2),  # too much waits
        (load(running=4, waiting=35), 4),  # as many as the depth asks for, at once
        (load(running=4, waiting=900), 4),  # never above the bound
        (load(2, running=8, waiting=19), 2),
        (load(4, running=16, waiting=900, oldest_s=60), 4),
        (load(waiting=0, oldest_s=60), 1),  # nothing waits
    ],
)
def test_more_when_work_waits(seen: Load, wanted: int) -> None:
    assert number(seen) == wanted


def test_what_was_asked_for_is_waited_for() -> None:
    """Neither before it is registered, nor right after a change."""
    late = load(2, registered=1, running=4, waiting=100, oldest_s=30)
    assert number(late) == 2
    busy = load(2, running=8, waiting=100, oldest_s=30)
    assert number(busy, Past(changed_at=1000 - STEADY_S + 0.1)) == 2
    assert number(busy, Past(changed_at=1000 - STEADY_S)) > 2


def test_fewer_after_a_while_with_little_to_do() -> None:
    """One at a time, and any work in between begins the time anew."""
    past, now, seen = Past(), 0.0, load(3)
    for _ in range(30):
        wanted, past = decide(seen, BOUNDS, past, now)
        assert wanted == 3
        now += 1
    wanted, past = decide(seen, BOUNDS, past, now)
    assert wanted == 2
    assert decide(load(2), BOUNDS, past, now + 29)[0] == 2
    past = decide(load(2), BOUNDS, past, now + 4)[1]
    past = decide(load(2, running=7), BOUNDS, past, now + 20)[1]
    assert past.spare_since is None
    past = decide(load(2), BOUNDS, past, now + 21)[1]
    assert decide(load(2), BOUNDS, past, now + 40)[0] == 2
    assert decide(load(2), BOUNDS, past, now + 51)[0] == 1


def test_the_last_one_stays_and_one_that_a_person_took_out_stays_out() -> None:
    assert number(load(1), Past(spare_since=0.0)) == 1
    assert number(load(0, waiting=50, oldest_s=99)) == 0


def test_a_number_outside_the_bounds_is_brought_back() -> None:
    """A person's, or one from before the bounds were changed."""
    assert number(load(7, running=28, waiting=9)) == 4
    assert number(load(1), bounds=Bounds(2, 4, 10, 2.0, 30.0)) == 2


def test_it_does_not_swing() -> None:
    """Under a steady load of any size the number settles."""
    chance = random.Random(7)
    for _ in range(200):
        work = chance.uniform(0, 20)  # places that the work needs
        wanted, past, waiting, changes = 1, Past(), 0.0, []
        for second in range(300):
            done = min(work + waiting, wanted * 4)
            waiting = max(0.0, waiting + work - done)
            seen = load(wanted, running=round(done), waiting=round(waiting), oldest_s=waiting / max(done, 1))
            new, past = decide(seen, BOUNDS, past, float(second))
            if new != wanted:
                changes.append(second)
            wanted = new
        assert len(changes) <= 6, (work, changes)
        assert not [second for second in changes if second > 150], (work, changes)
