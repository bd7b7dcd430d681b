"""The documents say what the code does: generated pages are current, links lead somewhere, strategies are valid."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import executor
from executor.catalogue import InstalledCatalogue
from executor.cli.app import app
from executor.documents import load_text
from executor.model.execution import NEXT
from executor.validation import check

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")],
    key=str,
)
READ = [path for path in PAGES if "templates" not in path.parts]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_generated_pages_are_current() -> None:
    """`make check` says the same."""
    command = [sys.executable, "docs/generate.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_states_are_drawn_as_the_table_has_them() -> None:
    """Every transition of the table is an arrow, and there is no other."""
    text = (ROOT / "docs/explanation/ledger.md").read_text()
    drawn = set(re.findall(r"^    (\w+) --> (\w+)$", text, re.MULTILINE))
    assert drawn == {(str(state), str(after)) for state, following in NEXT.items() for after in following}


@pytest.mark.parametrize("page", READ, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Files and headings that a page points at are there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http:", "https:")):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.exists(), f"{target} of {name_of(page)}"
        if anchor:
            assert anchor in anchors(found), f"{target} of {name_of(page)}"


@pytest.mark.parametrize("page", READ, ids=name_of)
def test_strategies_in_pages_are_valid(page: Path) -> None:
    """Each block of YAML that is a whole strategy passes the check."""
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        if re.search(r"^name:", block, re.MULTILINE) and re.search(r"^(actions|phases):", block, re.MULTILINE):
            assert check(load_text(block, name_of(page)), InstalledCatalogue()).problems == ()


@pytest.mark.parametrize("page", READ, ids=name_of)
def test_python_in_pages_can_be_read_and_imports_what_there_is(page: Path) -> None:
    """Each block of Python compiles, and what it takes from `executor` is exported."""
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        tree = ast.parse(block)
        taken = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "executor"]
        assert {name.name for node in taken for name in node.names} <= set(executor.__all__)


@pytest.mark.parametrize("page", READ, ids=name_of)
def test_commands_in_pages_exist(page: Path) -> None:
    """Each `rex COMMAND --option` of a page is one that `rex` takes."""
    commands = get_command(app).commands  # type: ignore[attr-defined]
    text = page.read_text()
    code = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL) + re.findall(r"`(rex [^`\n]+)`", text)
    for name, rest in re.findall(r"\brex ([a-z]+)\b([^\n#|]*)", "\n".join(code)):
        assert name in commands, f"rex {name} of {name_of(page)}"
        taken = {option for parameter in commands[name].params for option in parameter.opts} | {"--help"}
        assert set(re.findall(r"(?<=\s)--[a-z-]+", rest)) <= taken, f"rex {name}{rest} of {name_of(page)}"
