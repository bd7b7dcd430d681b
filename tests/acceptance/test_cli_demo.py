"""`make demo`, as it is called after the installation."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

DEMO = Path(__file__).parents[2] / "examples" / "demo" / "run.py"


def test_the_demo_goes_well_and_leaves_nothing(tmp_path: Path) -> None:
    """Both runs go as they should; the temporary folder is empty afterwards."""
    done = subprocess.run(
        [sys.executable, DEMO], env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "answers 200 serving with 4 workers from primary" in done.stdout
    assert "byte for byte and with their modes: yes" in done.stdout
    assert list(tmp_path.iterdir()) == []
