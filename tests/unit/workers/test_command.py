"""The command action: what it runs, what it gives, what its errors say."""

import time

import pytest
from support.worlds import Bench, Tree

from executor.model.errors import ActionCancelled, ActionError, ActionTimedOut
from workers.actions.command import Command

COMMAND = Command()


def test_a_command_line_and_a_list(bench: Bench) -> None:
    assert bench.execute(COMMAND, run="echo hello; echo oops >&2") == {
        "exit_code": 0,
        "stdout": "hello\n",
        "stderr": "oops\n",
        "stdout_cut": False,
        "stderr_cut": False,
        "parsed": "hello",
    }
    assert bench.execute(COMMAND, argv=["printf", "%s-", "a b", 3])["stdout"] == "a b-3-"


def test_where_and_with_what_it_runs(bench: Bench, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("REX_BROKER_URL", "redis://:password@host")
    monkeypatch.setenv("INHERITED", "yes")
    result = bench.execute(
        COMMAND, run="pwd; echo $INHERITED $MINE; env; cat", cwd=str(tmp_path), env={"MINE": 7}, stdin="given"
    )
    assert result["stdout"].startswith(f"{tmp_path}\nyes 7\n")
    assert result["stdout"].endswith("given")
    assert "REX_" not in result["stdout"]


def test_stdout_as_json_and_as_lines(bench: Bench) -> None:
    assert bench.execute(COMMAND, run="echo '{\"a\": [1]}'", parse="json")["parsed"] == {"a": [1]}
    assert bench.execute(COMMAND, run="printf 'a\\nb\\n'", parse="lines")["parsed"] == ["a", "b"]
    with pytest.raises(ActionError, match=r"not JSON.*'nonsense"):
        bench.execute(COMMAND, run="echo nonsense", parse="json")
    with pytest.raises(ActionError, match=r"result\.parsed is nan"):
        bench.execute(COMMAND, run="echo NaN", parse="json")


def test_a_failure_says_what_was_run_and_what_came_back(bench: Bench, tmp_path) -> None:
    with pytest.raises(ActionError) as caught:
        bench.execute(COMMAND, run="echo working; echo 'no such table' >&2; exit 3", cwd=str(tmp_path))
    assert "exit 3" in str(caught.value)
    assert str(caught.value).endswith(f"in {tmp_path} ended with 3: no such table")
    assert caught.value.classification.retryable


@pytest.mark.parametrize("run", ["no-such-program", "/etc/passwd"])
def test_what_cannot_run_is_not_tried_again(bench: Bench, run: str) -> None:
    with pytest.raises(ActionError, match=r"ended with 12[67]") as caught:
        bench.execute(COMMAND, run=run)
    assert caught.value.classification.category == "configuration"


def test_other_exit_codes_can_mean_success(bench: Bench) -> None:
    assert bench.execute(COMMAND, run="exit 3", expect_exit=[0, 3])["exit_code"] == 3
    assert bench.execute(COMMAND, run="exit 3", expect_exit=3)["exit_code"] == 3
    with pytest.raises(ActionError, match="ended with 0, expected 3"):
        bench.execute(COMMAND, run="true", expect_exit=3)


def test_output_that_is_not_text_or_too_much_fits_into_a_result(bench: Bench) -> None:
    result = bench.execute(COMMAND, run="head -c 300000 /dev/urandom | tee /dev/stderr")
    assert result["stdout_cut"]
    assert "\N{REPLACEMENT CHARACTER}" in result["stdout"]
    assert len(bench.execute(COMMAND, run="yes | head -c 200000", parse="lines")["parsed"]) == 32768


def test_deadline_and_cancel_end_it_with_its_children(bench: Bench, tree: Tree) -> None:
    with pytest.raises(ActionTimedOut, match="deadline"):
        bench.execute(COMMAND, run="sleep 60", timeout_s=0.2)
    run = bench.run(COMMAND, run=tree.command)
    run._cancelled = tree.is_up
    begun = time.monotonic()
    with pytest.raises(ActionCancelled):
        COMMAND.execute(run)
    assert tree.is_gone()
    assert time.monotonic() - begun < 5


def test_secrets_are_given_and_never_shown(bench: Bench, monkeypatch) -> None:
    monkeypatch.setenv("TOKEN", "sword fish+1")
    given = {"env": {"T": "secret://env/TOKEN"}, "stdin": "secret://env/TOKEN"}
    result = bench.execute(COMMAND, run='cat; printf "$T" | base64; test "$T" = "sword fish+1"', **given)
    assert result["stdout"].startswith("***")
    assert "fish" not in str(result)
    assert "c3dvcmQgZmlzaCsx" not in str(result)
    with pytest.raises(ActionError) as caught:
        bench.execute(COMMAND, run='echo "wrong password $T" >&2; exit 1', **given)
    assert str(caught.value).endswith("wrong password ***")
    assert caught.value.__cause__ is None


def test_problems_are_found_before_the_run() -> None:
    def problems(**parameters: object) -> list[tuple[str, str]]:
        return COMMAND.problems(parameters)

    assert problems(run="x") == []
    assert problems() == [("", "needs exactly one of run and argv")]
    assert problems(run="x", argv=["y"])[0][0] == "argv"
    assert problems(run="x", cwd="here")[0][0] == "cwd"
    assert problems(run="x", cwd="${{ inputs.dir }}") == []
    assert "process list" in problems(run="curl -u secret://env/X")[0][1]
    assert problems(argv=["curl", "secret://env/X"])[0][0] == "argv"
