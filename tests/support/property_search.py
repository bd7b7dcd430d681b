"""Draws batches of cases until enough have run, or one is wrong; that one is made smaller."""

import contextlib
import time

from hypothesis import HealthCheck, Phase, given, seed, settings

from support.property_bench import Bench
from support.property_cases import Case, Fault, batches

_ROUND = 25
"""Batches drawn from one seed; the next round has the next seed."""


class _Enough(BaseException):
    """Ends a search at once, which takes an ordinary error for one more finding."""


class _Memory:
    """What was found wrong: a race does not show each time, and making it smaller must end."""

    def __init__(self, bench: Bench, wanted: int, shrinking_s: float) -> None:
        self._bench = bench
        self._wanted = wanted
        self._shrinking_s = shrinking_s
        self._wrong: dict[object, str] = {}
        self._until = 0.0

    @property
    def smallest(self) -> str:
        """The last that was found is the smallest; empty: nothing was wrong."""
        return next(reversed(self._wrong.values()), "")

    def check(self, cases: list[Case], fault: Fault | None) -> None:
        key = (tuple(cases), fault)
        if key not in self._wrong:
            if self._is_over():
                raise _Enough
            if problem := self._bench.wrong(cases, fault):
                self._until = self._until or time.monotonic() + self._shrinking_s
                self._wrong[key] = problem
        if key in self._wrong:
            raise AssertionError(self._wrong[key])

    def _is_over(self) -> bool:
        if self._wrong:
            return time.monotonic() > self._until
        return self._bench.counts.cases >= self._wanted


def search(bench: Bench, first: int, wanted: int, *, with_faults: bool = True, shrinking_s: float = 90.0) -> None:
    """Run drawn cases until `wanted` have run; of a wrong one, look for a smaller one for at most `shrinking_s`.

    Raises:
        AssertionError: one of them is wrong; the smallest that was found, as YAML, with its seed.
    """
    number = first
    while bench.counts.cases < wanted:
        memory = _Memory(bench, wanted, shrinking_s)
        with contextlib.suppress(_Enough, AssertionError):
            _round(memory, number, with_faults)
        if memory.smallest:
            raise AssertionError(f"REX_PROPERTY_SEED={number}\n{memory.smallest}")
        number += 1


def _round(memory: _Memory, number: int, with_faults: bool) -> None:
    @seed(number)
    @settings(
        max_examples=_ROUND, deadline=None, database=None, derandomize=False, print_blob=False,
        report_multiple_bugs=False, phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(batches(with_faults=with_faults))
    def holds(batch: tuple[list[Case], Fault | None]) -> None:
        memory.check(*batch)

    holds()
