"""`rex validate`, `plan`, `schema`, `actions`, `doctor`, `--help`: nothing runs, and nothing is needed."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.commands import REX, Rex

GOOD = """
name: shapes
model: phased
phases:
  - name: first
    actions:
      - {id: a, uses: wait, device: edge-1, with: {for: 1ms}}
      - {id: b, uses: wait, with: {for: 1ms}}
    verify: "actions.a.status == 'succeeded'"
  - name: second
    actions: [{id: c, uses: wait, device: edge-2, with: {for: 1ms}}]
"""


@pytest.fixture
def rex(tmp_path: Path) -> Iterator[Rex]:
    made = Rex(tmp_path)
    yield made
    made.close()


def test_standard_input_and_doubled_inputs(rex: Rex) -> None:
    """`-` is the strategy on standard input; an input given twice is refused."""
    one = "name: one\ninputs: {i: {type: integer}}\nactions: [{id: a, uses: wait, with: {for: 1ms}}]\n"
    told = subprocess.run(
        [REX, "plan", "-"], input=one, env=rex.environment(), text=True, capture_output=True, timeout=60, check=False
    )
    assert told.stdout.startswith("one: 1 action in 1 stage on any;"), told.stderr
    refused = rex("run", rex.write("one.yaml", one), "--input", "i=1", "--input", "i=2")
    assert refused.returncode == 2
    assert "--input i is given twice" in refused.stderr


def test_validate_says_ok_or_every_problem(rex: Rex) -> None:
    """Places and remedies on standard error; the same as JSON."""
    assert rex("validate", rex.write("good.yaml", GOOD)).stdout == "ok\n"
    bad = rex.write("bad.yaml", GOOD.replace("uses: wait", "uses: wiat").replace("verify", "verfy"))
    refused = rex("validate", bad)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert f"{bad}:7:" in refused.stderr
    assert "did you mean" in refused.stderr
    told = rex.json("validate", bad)
    assert told["valid"] is False
    assert {problem["line"] for problem in told["problems"]} >= {7, 8, 9}


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "no such file"), (b"", "empty"), (b"\0\1", "binary"), (b"name: \xff", "UTF-8"), (b"a: *a", "alias")],
)
def test_files_that_are_none(rex: Rex, content: bytes | None, said: str) -> None:
    """Status 2 and one sentence, never a traceback."""
    path = rex.work / "s.yaml"
    if content is not None:
        path.write_bytes(content)
    refused = rex("run", path)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_directory_is_no_strategy(rex: Rex) -> None:
    """Said in a sentence."""
    refused = rex("validate", rex.work)
    assert refused.returncode == 2
    assert "this is a directory" in refused.stderr


def test_plan_shows_stages_canvases_and_devices(rex: Rex) -> None:
    """As a tree, and as JSON."""
    file = rex.write("good.yaml", GOOD)
    tree = rex("plan", file).stdout
    assert "stage 0 'first': chord, side by side" in tree
    assert "device.edge-2: c (wait)" in tree
    told = rex.json("plan", file)
    assert [stage["canvas"] for stage in told["stages"]] == ["chord", "chord"]
    assert told["stages"][0]["messages"][1]["queue"] is None


def test_plan_without_a_cluster_leaves_devices_open(rex: Rex) -> None:
    """It is said that they are chosen at the run; what is named stands there."""
    file = rex.write(
        "fleet.yaml",
        "name: fleet\nactions:\n"
        "  - {id: a, uses: wait, with: {for: 1ms}, capabilities: [gpu]}\n"
        "  - {id: b, uses: wait, with: {for: 1ms}, devices: [x, y, z], max_unavailable: 34%}\n"
        "  - {id: c, uses: wait, with: {for: 1ms}, devices: {labels: {zone: eu}}}\n"
        'rollback: {mechanism: partial, actions: ["c@edge-1"]}\n',
    )
    tree = rex("plan", file).stdout
    for said in ("chosen at the run", "b on at most 1 device at once", "message to device.x: b@x (wait)",
                 "message to each device that fits: c@each (wait)"):  # fmt: skip
        assert said in tree, tree
    told = rex.json("plan", file)
    assert told["cluster"] is False
    (one,) = told["stages"][0]["messages"][0]["actions"]
    assert (one["device"], one["placed"]) == (None, "chosen at the run")


def test_a_run_of_its_own_starts_the_devices_of_a_fan_out(rex: Rex) -> None:
    """Those that are named; what none of them announces is refused before anything starts."""
    text = "name: fleet\nactions:\n  - {id: a, uses: wait, with: {for: 1ms}, devices: %s}\n"
    told = rex.json("run", rex.write("fleet.yaml", text % "[x, y]"))
    assert {name: one["device"] for name, one in told["actions"].items()} == {"a@x": "x", "a@y": "y"}
    assert list(rex.json("run", rex.write("all.yaml", text % "all"))["actions"]) == ["a@local"]
    refused = rex("run", rex.write("eu.yaml", text % "{labels: {zone: eu}}"))
    assert refused.returncode == 2
    assert "no device of a run's own cluster announces zone=eu" in refused.stderr


def test_inputs_are_checked_by_their_types(rex: Rex) -> None:
    """All wrong ones at once, before anything starts."""
    text = "name: s\ninputs: {n: {type: integer, required: true}, b: {type: boolean}}\n" + GOOD.partition("shapes\n")[2]
    file = rex.write("s.yaml", text)
    refused = rex("run", file, "--input", "n=many", "--input", "b=perhaps", "--input", "nn=1", "--input", "x")
    assert refused.returncode == 2
    for said in ("a whole number", "true or false", "'nn'", "has no value"):
        assert said in refused.stderr
    assert "is required" in rex("run", file).stderr


def test_schema_and_actions(rex: Rex) -> None:
    """A schema for editors; the types with their parameters."""
    schema = json.loads(rex("schema").stdout)
    assert "with.file.edit" in schema["$defs"]
    assert "file.edit" in rex("actions").stdout
    assert "Absolute path" in rex("actions", "file.edit").stdout
    assert rex.json("actions", "wait")["parameters"]["properties"]["for"]
    unknown = rex("actions", "file.edti")
    assert unknown.returncode == 2
    assert "file.edit" in unknown.stderr


def test_doctor_without_a_cluster(rex: Rex) -> None:
    """Nothing is wrong with that; wrong settings are told with their source."""
    told = rex.json("doctor")
    assert told["healthy"]
    wrong = rex("doctor", REX_EXECUTION__MAX_RETRY="3")
    assert wrong.returncode == 2
    assert "did you mean REX_EXECUTION__MAX_RETRIES" in wrong.stderr


@pytest.mark.parametrize("arguments", [["--wait", "10"], ["--concurency"], ["--input"]])
def test_a_wrong_call_is_refused(rex: Rex, arguments: list[str]) -> None:
    """Status 2, with what would be right."""
    refused = rex("run", rex.write("good.yaml", GOOD), *arguments)
    assert refused.returncode == 2
    assert refused.stderr
    assert "Traceback" not in refused.stderr


def test_it_is_quick(rex: Rex) -> None:
    """`rex --help` and the check of 500 actions, each as a process, against one that only loads the libraries.

    One after the other in each of seven rounds, and by the middle of what each took: other work goes on beside, and a
    machine does not keep its speed.
    """
    actions = [{"id": f"a{n}", "uses": "wait", "with": {"for": "1ms"}, "when": f"{n} > 1"} for n in range(500)]
    file = rex.write("s.json", json.dumps({"name": "s", "actions": actions}))
    libraries = [sys.executable, "-c", "import typer, pydantic, yaml, cel_expr_python"]

    def seconds(run: Callable[[], subprocess.CompletedProcess[Any]]) -> float:
        before = time.perf_counter()
        assert run().returncode == 0
        return time.perf_counter() - before

    helped, checked = [], []
    for _ in range(7):
        measure = seconds(lambda: subprocess.run(libraries, check=False, timeout=60))
        helped.append(seconds(lambda: rex("--help")) / measure)
        checked.append(seconds(lambda: rex("validate", file)) / measure)
    assert statistics.median(helped) < 1.5
    assert statistics.median(checked) < 4


def test_as_a_module_beside_a_foreign_config(rex: Rex) -> None:
    """`python -m executor.cli` takes nothing from the folder that it is called in."""
    import subprocess

    rex.write("config.py", "raise SystemExit('not ours')")
    done = subprocess.run(
        [sys.executable, "-m", "executor.cli", "validate", rex.write("good.yaml", GOOD)],
        cwd=rex.work, env=rex.environment(), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout == "ok\n", done.stderr
    hidden = rex("validate", rex.work / "good.yaml", PYTHONPATH=os.fspath(rex.work))
    assert hidden.returncode == 2
    assert "take its folder off PYTHONPATH" in hidden.stderr
