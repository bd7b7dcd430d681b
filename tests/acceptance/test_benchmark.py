"""The benchmark: it runs, says what was asked for, and leaves nothing behind."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.profiling import shares

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]


def test_both_sides_are_measured_and_compared(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--json", "--rounds", "1", "--only", "sequence-10"]
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        output, progress = process.communicate(timeout=60)
    assert process.returncode == 0, progress
    assert "sequence-10 1: celery" in progress
    found = json.loads(output)
    assert list(found) == ["sequence-10"]
    row = found["sequence-10"]
    assert row["ratio"] == pytest.approx(row["rex_ms"] / row["celery_ms"], rel=0.01)
    assert row["ratio_fused"] == pytest.approx(row["rex_fused_ms"] / row["celery_ms"], rel=0.01)
    assert list(tmp_path.glob("rex-bench-*")) == []
    assert [p.cmdline() for p in psutil.process_iter() if str(tmp_path) in " ".join(_command(p))] == []


def test_samples_are_counted_by_part_and_idle_threads_left_out() -> None:
    stacks = [
        "loop (x.py:1);on_readable (kombu/transport/redis.py:2) 3",
        "_worker (concurrent/futures/thread.py:1) 8",
        "_worker (concurrent/futures/thread.py:1);Runner.run (a.py:2);Runner._settle (a.py:3);read (x.py:4) 1",
    ]
    assert shares(stacks) == {"fetching a message": 0.75, "settle": 0.25}


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
