"""Whatever comes by message: a strategy, or problems; never a crash."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.sample_types import SAMPLES, Assert, Check, Command

from executor.catalogue import MemoryCatalogue
from executor.documents import load_data
from executor.validation import check

KEYS = [
    "name", "model", "actions", "phases", "id", "uses", "with", "needs", "retry", "compensate", "inputs", "type",
    "default", "when", "rollback", "verify", "fallback", "defaults", "timeout", "success_criteria", "devices",
]  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["a", "b", "command", "http.check", "phased", "auto", "none", "30s", "${{ inputs.a }}", "${{",
                       "actions.a.status == 'x'", "secret://env/X", "adaptive", "ended"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(VALUES)
def test_the_check_never_crashes(data: Any) -> None:
    """Whatever a stranger sends is a strategy or has problems."""
    document = {"name": "x", "model": "sequential", **data} if isinstance(data, dict) else data
    found = check(load_data(document), MemoryCatalogue(Command, Check, Assert))
    assert (found.strategy is None) == bool(found.problems)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5), max_size=4), VALUES)
def test_the_check_of_actions_never_crashes(listed: list[Any], defaults: Any) -> None:
    """The same a level deeper."""
    found = check(load_data({"name": "x", "actions": listed, "defaults": defaults}), SAMPLES)
    assert (found.strategy is None) == bool(found.problems)
