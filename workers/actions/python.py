"""``python``: calls a function of an installed package, in a process of its own."""

import ast
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from executor.action import ActionType, Json, Run, Undo, WayBack
from executor.model.strategy import Model
from workers.actions.isolation import call_compensation, call_function

_HOPS = 5


class Python(ActionType):
    """Call a Python function with keyword arguments; what it returns, JSON, is the result.

    It runs in a process that is killed at the deadline. A function made with `@action` that has a
    `compensate` is taken back by it.
    """

    uses = "python"
    permissions = ("python.call",)
    isolated = False  # the function is, always; this code only starts it

    class Parameters(Model):
        call: Annotated[str, StringConstraints(pattern=r"^[^\W\d][\w.]*:[^\W\d][\w.]*$")] = Field(
            description="package.module:function, importable on the device"
        )
        args: dict[str, Any] = Field({}, description="Keyword arguments")

    def way_back(self, parameters: Json) -> WayBack:
        """By its compensation, where the source that is installed here shows one; nothing is imported."""
        call = parameters.get("call")
        if not isinstance(call, str) or "${{" in call or call.count(":") != 1:
            return WayBack.DECLARED
        module, _, name = call.partition(":")
        return WayBack.COMPENSATES if has_compensation(module, name) else WayBack.DECLARED

    def execute(self, run: Run) -> Any:
        run.proceed()
        return call_function(run, run.parameters.call, run.parameters.args)

    def compensate(self, run: Run, undo: Undo) -> Any:
        run.proceed()
        return call_compensation(run, run.parameters.call, run.parameters.args, undo)


def has_compensation(module: str, name: str) -> bool:
    """Whether the source of `module` registers a compensation for `name`.

    The source is read, not imported: planning must neither run the code of users nor hang in it.
    """
    for _ in range(_HOPS):
        tree = _source(module)
        if tree is None:
            return False
        if any(_registers(node, name) for node in tree.body):
            return True
        origin = _imported_from(tree, module, name)
        if origin is None:
            return False
        module, name = origin
    return False


def _registers(node: ast.stmt, name: str) -> bool:
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    return any(ast.unparse(decorator) == f"{name}.compensate" for decorator in node.decorator_list)


def _imported_from(tree: ast.Module, module: str, name: str) -> tuple[str, str] | None:
    for node in tree.body:
        if not isinstance(node, ast.ImportFrom):
            continue
        for alias in node.names:
            if (alias.asname or alias.name) == name:
                base = _package_of(module, node.level)
                return ".".join(part for part in (base, node.module) if part), alias.name
    return None


def _package_of(module: str, level: int) -> str:
    """What a relative import of `level` dots in `module` starts from."""
    if level == 0:
        return ""
    place = _place(module)
    parts = module.split(".")
    up = level - 1 if place is not None and place.name == "__init__.py" else level
    return ".".join(parts[: len(parts) - up])


def _source(module: str) -> ast.Module | None:
    place = _place(module)
    if place is None:
        return None
    try:
        return ast.parse(place.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


def _place(module: str) -> Path | None:
    """The source file of `module`, found without importing the packages above it."""
    search: list[str] = list(sys.path)
    spec = None
    for depth, _ in enumerate(parts := module.split(".")):
        spec = PathFinder.find_spec(".".join(parts[: depth + 1]), search)
        if spec is None:
            return None
        search = list(spec.submodule_search_locations or [])
    origin = spec.origin if spec else None
    return Path(origin) if origin is not None and origin.endswith(".py") else None
