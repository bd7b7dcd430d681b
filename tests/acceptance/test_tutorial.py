"""The tutorial, done as a reader does it: every file written, every command run, every output seen."""

import fnmatch
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"


@dataclass(frozen=True)
class Block:
    """A marked block of code: ``<!-- run -->``, ``<!-- file: NAME -->``, ``<!-- says: status 3 -->``."""

    kind: str
    argument: str
    text: str


def blocks() -> Iterator[Block]:
    for kind, argument, text in re.findall(
        r"^<!-- (\w+)(?:: (.*?))? -->\n```\w+\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL
    ):
        yield Block(kind, argument, text)


def patched(path: Path, after: str, text: str) -> None:
    """Put lines below the one that holds `after`."""
    lines = path.read_text().splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if after in line)
    path.write_text("".join([*lines[: place + 1], text, *lines[place + 1 :]]))


def missing(expected: str, said: list[str]) -> list[str]:
    """Expected lines that were not said; a star stands for anything."""
    patterns = [re.sub(r"\[", "[[]", line) for line in expected.splitlines()]
    return [line for line in patterns if not any(fnmatch.fnmatchcase(found, line) for found in said)]


@pytest.mark.cluster
def test_the_tutorial(tmp_path: Path) -> None:
    """From an empty directory to a recovery that is taken back."""
    folder = tmp_path / "reader"
    folder.mkdir()
    own = {name: value for name, value in os.environ.items() if not name.startswith("REX_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
    environ = {**own, "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state"), "PATH": path}
    status, said = 0, [""]
    for block in blocks():
        if block.kind == "file":
            (folder / block.argument).write_text(block.text)
        elif block.kind == "patch":
            name, _, after = block.argument.partition(" after: ")
            patched(folder / name, after, block.text)
        elif block.kind == "run":
            done = subprocess.run(
                ["sh", "-e", "-c", block.text], cwd=folder, env=environ, capture_output=True, text=True, timeout=60,
                check=False,
            )  # fmt: skip
            status, said = done.returncode, (done.stdout + done.stderr).splitlines()
        else:
            assert status == int(block.argument.removeprefix("status ") or 0), said
            assert missing(block.text, said) == [], said
            status = 0
        assert status == 0 or block.kind == "run"
    assert (folder / "site" / "site.conf").read_text() == "workers=8\n"
    assert (folder / "site" / "log").read_text().splitlines() == [
        "restarted", "restarted with the old configuration", "restarted",
    ]  # fmt: skip


def test_every_command_of_the_tutorial_is_run() -> None:
    """A block of shell without a mark is one that only a reader can run: the installation."""
    shell = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    run = {block.text for block in blocks() if block.kind == "run"}
    assert [text for text in shell if text not in run] == ["make install\n. .venv/bin/activate\n"]
