"""Code of others runs in a process of its own: cut at its deadline, heard while it runs, wholly itself."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.waiting import wait_until
from support.worlds import ROOT, Bench, is_alive

from executor.action import ActionType, Found, Undo, WayBack
from executor.model.errors import ActionCancelled, ActionError, ActionTimedOut, ChangedSince
from workers.actions.python import Python
from workers.run import perform

PYTHON = Python()
Importable = Callable[[str, str], str]

FUNCTIONS = """
import os, re, sys, time
from executor.action import action

def add(a, b=2):
    print("from the function")
    return {"sum": a + b, "pid": os.getpid()}

async def later(a): return a
def hold(): re.match(r"(a+)+$", "a" * 60 + "b")
def fail(): raise ValueError("no good")
def leave(): sys.exit(3)
def die(): os._exit(9)
def nan(): return {"rows": [1, {"x": float("nan")}]}
def blob(): return {"rows": b"x"}
def huge(): return 2 ** 64
def much(): return "x" * 300_000
def where(): return {"cwd": os.getcwd(), "path": sys.path, "config": __import__("config").OURS}

@action("db.promote")
def promote(host): return {"promoted": host}

@promote.compensate
def demote(host, result): return {"demoted": host, "was": result}

def start_child(path):
    import subprocess
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    open(path, "w").write(str(child.pid))
    time.sleep(60)
"""

TYPES = """
from executor.action import ActionType, Found, Snapshot
from executor.model.errors import ActionError, ChangedSince, EXTERNAL
from executor.model.strategy import Model

class Careful(ActionType):
    uses = "test.careful"
    class Parameters(Model):
        n: int
    def check(self, run):
        return Found.DONE if run.snapshot else Found.NOT_DONE
    def snapshot(self, run):
        return Snapshot({"sha": run.saved.save(b"before")}, target="it")
    def execute(self, run):
        run.proceed()
        run.progress(0.5, "half " + run.secret("secret://env/TOKEN"))
        run.log.warning("working with %s", run.secret("secret://env/TOKEN"))
        return {"n": run.parameters.n, "key": run.key, "token": run.secret("secret://env/TOKEN")}
    def compensate(self, run, undo):
        return {"bytes": run.saved.load(undo.snapshot["sha"]).decode(), "was": undo.result}
    def verify(self, run, result):
        raise ActionError("not there", EXTERNAL)

class Changed(Careful):
    uses = "test.changed"
    def execute(self, run):
        raise ChangedSince("somebody was here")
    def snapshot(self, run):
        while not run.cancelled():
            pass
        run.proceed()
"""


@pytest.fixture
def functions(importable: Importable) -> str:
    return importable("rex_test_functions", FUNCTIONS)


@pytest.fixture
def careful(importable: Importable) -> Callable[[str], ActionType]:
    importable("rex_test_types", TYPES)
    import importlib

    module = importlib.import_module("rex_test_types")
    return lambda name: getattr(module, name)()


def test_a_function_gets_its_arguments_and_gives_its_value(bench: Bench, functions: str, caplog) -> None:
    caplog.set_level("INFO")
    result = bench.execute(PYTHON, call=f"{functions}:add", args={"a": 1})
    assert result["sum"] == 3
    assert not is_alive(result["pid"])
    assert "from the function" in caplog.text, "what it prints is logged"
    assert bench.execute(PYTHON, call=f"{functions}:later", args={"a": [1]}) == [1]


def test_code_that_holds_the_interpreter_is_cut_at_its_deadline(bench: Bench, functions: str) -> None:
    begun = time.monotonic()
    with pytest.raises(ActionTimedOut, match=f"{functions}:hold"):
        bench.execute(PYTHON, call=f"{functions}:hold", timeout_s=0.6)
    assert time.monotonic() - begun < 2


def test_what_a_function_started_is_gone_too(bench: Bench, functions: str, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    run = bench.run(PYTHON, call=f"{functions}:start_child", args={"path": str(path)})
    run._cancelled = lambda: path.exists() and bool(path.read_text())
    with pytest.raises(ActionCancelled):
        perform(PYTHON, "execute", run)
    assert not is_alive(int(path.read_text()))


@pytest.mark.parametrize(
    ("name", "said", "retryable"),
    [
        ("fail", "ValueError: no good", False),
        ("leave", "SystemExit: 3", True),
        ("die", "its process ended with 9 before it returned", True),
        ("nan", r"result\.rows\[1\]\.x is nan", False),
        ("blob", r"result\.rows is a bytes", False),
        ("huge", "beyond 64 bits", False),
        ("much", "300002 bytes of JSON, more than the 262144", False),
        ("absent", "no attribute 'absent'", False),
    ],
)
def test_what_goes_wrong_is_named_and_classified(
    bench: Bench, functions: str, name: str, said: str, retryable: bool
) -> None:
    with pytest.raises(ActionError, match=said) as caught:
        bench.execute(PYTHON, call=f"{functions}:{name}")
    assert caught.value.classification.retryable is retryable


def test_neither_we_nor_the_user_shadow_the_other(
    bench: Bench, importable: Importable, functions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `config.py` of the user is theirs, an `executor.py` beside it is not taken for ours."""
    importable("config", "OURS = 'the user'")
    importable("executor", "raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    result = bench.execute(PYTHON, call=f"{functions}:where")
    assert (result["cwd"], result["config"]) == ("/", "the user")
    assert str(tmp_path) not in result["path"]
    assert "" not in result["path"]


def test_a_function_with_a_compensation_is_taken_back_by_it(bench: Bench, functions: str) -> None:
    parameters = {"call": f"{functions}:promote", "args": {"host": "a"}}
    result = bench.execute(PYTHON, **parameters)
    assert result == {"promoted": "a"}
    undone = perform(PYTHON, "compensate", bench.run(PYTHON, **parameters), Undo(result=result))
    assert undone == {"demoted": "a", "was": {"promoted": "a"}}


def test_the_way_back_is_read_from_the_source(importable: Importable, functions: str) -> None:
    importable("rex_test_reexport", f"from {functions} import promote as lift\nraise SystemExit('was imported')")
    assert PYTHON.way_back({"call": f"{functions}:promote"}) is WayBack.COMPENSATES
    assert PYTHON.way_back({"call": "rex_test_reexport:lift"}) is WayBack.COMPENSATES
    for call in (f"{functions}:add", "no.such.module:f", "os.path:join", "${{ inputs.call }}", 3):
        assert PYTHON.way_back({"call": call}) is WayBack.DECLARED


def test_an_isolated_type_has_all_of_its_run(
    bench: Bench,
    careful: Callable[[str], ActionType],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("TOKEN", "swordfish")
    kind = careful("Careful")
    run = bench.run(kind, n=4)
    assert perform(kind, "check", run) is Found.NOT_DONE
    snapshot = perform(kind, "snapshot", run)
    assert snapshot.target == "it"
    run.snapshot = snapshot.data
    assert perform(kind, "check", run) is Found.DONE
    result = perform(kind, "execute", run)
    assert result == {"n": 4, "key": "key", "token": "***"}
    assert bench.progress == [(0.5, "half ***")]
    assert "working with ***" in caplog.text
    assert "swordfish" not in caplog.text
    with pytest.raises(ActionError, match="not there") as caught:
        perform(kind, "verify", run, result)
    assert caught.value.classification.category == "external"
    undo = Undo(snapshot=snapshot.data, result=result)
    assert perform(kind, "compensate", run, undo) == {"bytes": "before", "was": result}


def test_errors_of_the_contract_keep_their_kind(bench: Bench, careful: Callable[[str], ActionType]) -> None:
    kind = careful("Changed")
    with pytest.raises(ChangedSince, match="somebody was here"):
        perform(kind, "execute", bench.run(kind, n=1))
    run = bench.run(kind, n=1)
    bench.cancel.set()
    with pytest.raises(ActionCancelled):
        perform(kind, "snapshot", run)


def test_a_hook_that_a_type_does_not_have_starts_no_process(
    bench: Bench,
) -> None:
    class Bare(ActionType):
        uses = "test.bare"

        def execute(self, run: object) -> None:
            """Nothing; and it could not be found again, being made inside a function."""

    kind = Bare()
    assert perform(kind, "check", bench.run(kind)) is Found.UNKNOWN
    assert perform(kind, "snapshot", bench.run(kind)) is None
    assert perform(kind, "verify", bench.run(kind), None) is None


def test_a_dead_worker_takes_the_child_with_it(functions: str, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    source = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from workers.actions.python import Python
from workers.run import ActionRun, perform
from rollback.stores import MemoryStore
parameters = Python.Parameters(call="{functions}:start_child", args={{"path": {str(path)!r}}})
perform(Python(), "execute", ActionRun(parameters=parameters, execution="e", action="a", device="d", attempt=1,
        key="k", deadline=time.monotonic() + 60, saved=MemoryStore()))
"""
    worker = subprocess.Popen([sys.executable, "-c", source])
    try:
        pid = int(wait_until(lambda: path.exists() and path.read_text(), description="the child runs"))
    finally:
        worker.kill()
        worker.wait()
    wait_until(lambda: not is_alive(pid), description="what the child started is gone", timeout_s=3)
