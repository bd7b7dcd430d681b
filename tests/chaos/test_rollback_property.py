"""Drawn strategies of every shape, with failing, hanging and lying actions and compensations, and kills, on a real
cluster; judged by what was done, not by what is said.

``REX_PROPERTY_SEED`` repeats a run, ``REX_PROPERTY_CASES`` makes it longer.
"""

import os
import random
import sys
from collections.abc import Iterator

import pytest
from support.property_bench import Bench
from support.property_search import search

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(0)]


@pytest.fixture
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("p"))
    yield made
    made.close()


def test_the_end_is_the_goal_or_the_state_before_or_a_list_of_what_is_left(bench: Bench) -> None:
    """Invariants 1 to 7 of the design hold for whatever is drawn."""
    seed = int(os.environ.get("REX_PROPERTY_SEED", random.SystemRandom().randrange(2**32)))
    wanted = int(os.environ.get("REX_PROPERTY_CASES", "40"))
    sys.stdout.write(f"REX_PROPERTY_SEED={seed}\n")
    try:
        search(bench, seed, wanted)
    finally:
        sys.stdout.write(f"seed {seed}: {bench.counts}\n")
        sys.stdout.flush()
