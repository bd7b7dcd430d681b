"""A result is JSON of bounded size; what is not says where."""

import json
from typing import Any

import pytest

from executor.model.errors import ActionError
from executor.results import MAX_RESULT_BYTES, check_result


@pytest.mark.parametrize(
    "value", [None, True, 0, -(2**63), 2**63 - 1, 1.5, "", "é\u2028\0", [], {"a": [{"b": (1, 2)}]}, "x" * 262_142]
)
def test_json_is_let_through(value: Any) -> None:
    assert json.loads(check_result(value)) == json.loads(json.dumps(value))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"rows": [0, {"x": float("nan")}]}, r"result\.rows\[1\]\.x is nan"),
        ([float("-inf")], r"result\[0\] is -inf"),
        ({"n": 2**63}, "result.n is an integer beyond 64 bits"),
        ({"b": b"x"}, "result.b is a bytes"),
        ({"s": {1}}, "result.s is a set"),
        (object(), "result is an object"),
        ({"m": {1: 2}}, "result.m is a map with a key that is an int"),
        ({"t": "\ud800"}, "result.t is text that is not Unicode"),
        ("x" * MAX_RESULT_BYTES, "262146 bytes of JSON, more than the 262144"),
        ("é" * (MAX_RESULT_BYTES // 2), "more than"),
    ],
)
def test_what_is_not_json_is_named(value: Any, said: str) -> None:
    with pytest.raises(ActionError, match=said) as caught:
        check_result(value)
    assert not caught.value.classification.retryable


def test_a_value_that_holds_itself_ends() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ActionError, match="nested deeper than 64"):
        check_result(value)
