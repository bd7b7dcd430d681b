"""Where settings come from: TOML files and the environment; each value with its place."""

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFIX = "REX_"
SYSTEM_FILE = Path("/etc/rex/rex.toml")

# Read by single processes, or meant for one; every other REX_ name has to be a setting.
PROCESS_VARIABLES: Mapping[str, str] = {
    "REX_CONFIG": "the TOML file to read, as --config",
    "REX_PASSWORD": "the password that docker-compose.yml gives to the server",
    "REX_DEVICE": "the device that a worker serves",
    "REX_AGENTS": "given to a worker by its parent: which of its devices is an agent of which kind",
    "REX_LABELS": "labels of a worker's devices, as name=value with commas between; `rex worker --label` adds to them",
    "REX_CAPABILITIES": "what a worker's devices can do, with commas between; `rex worker --capability` adds to them",
    "REX_INCARNATION": "given to a child process by its parent: the id of this start",
    "REX_BEAT_FD": "given to a child process by its parent: where it shows that it is alive",
    "REX_LOCAL_CLUSTER": "given to the coordinator by `rex up`: it may change the number of workers",
    "REX_WARM_UP": "given to a worker by its parent: whether it loads action types before it is announced, or later",
    "REX_CRASH_POINT": "tests of recovery: where the process ends itself",
}


class SettingsInvalid(Exception):
    """A setting is unknown or wrong; `problems` holds one sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


@dataclass(frozen=True)
class Written:
    """One value as somebody wrote it."""

    value: Any
    source: str
    """The name of the variable, or file and key."""


Values = dict[str, Written]
"""By dotted name, such as ``execution.fuse``."""


def variable(name: str) -> str:
    """The environment variable of the setting `name`."""
    return PREFIX + name.upper().replace(".", "__")


def from_environment(environ: Mapping[str, str], known: Iterable[str]) -> Values:
    """The settings among the variables; an empty one counts as not set, which is what compose files produce.

    Raises:
        SettingsInvalid: a REX_ variable that is neither a setting nor one of `PROCESS_VARIABLES`.
    """
    names = {variable(name): name for name in known}
    given = {key: value for key, value in environ.items() if key.startswith(PREFIX)}
    unknown = sorted(key for key in given if key not in names and key not in PROCESS_VARIABLES)
    if unknown:
        raise SettingsInvalid([f"{key}: no such setting{did_you_mean(key, names)}" for key in unknown])
    return {names[key]: Written(value, key) for key, value in given.items() if key in names and value}


def from_file(path: Path, known: Iterable[str]) -> Values:
    """The settings in one TOML file.

    Raises:
        SettingsInvalid: not readable, no TOML, or a key that is no setting.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsInvalid([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise SettingsInvalid([f"{path}: is no UTF-8 text"]) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsInvalid([f"{path}: {error}"]) from error
    names = list(known)
    found = {name: Written(value, f"{path}: {name}") for name, value in _leaves(document, names)}
    unknown = [name for name in found if name not in names]
    if unknown:
        raise SettingsInvalid([f"{path}: {name}: no such setting{did_you_mean(name, names)}" for name in unknown])
    return found


def files(named: Path | None, environ: Mapping[str, str]) -> list[Path]:
    """The files to read, the weakest first.

    A file in the working directory is read only when it is named: a command must not change its meaning with
    the folder that it is called in.
    """
    home = Path(environ.get("XDG_CONFIG_HOME") or home_of(environ) / ".config")
    present = [path for path in (SYSTEM_FILE, home / "rex" / "rex.toml") if path.is_file()]
    if named is None and environ.get("REX_CONFIG"):
        named = Path(environ["REX_CONFIG"])
    return present if named is None else [*present, named.expanduser().absolute()]


def home_of(environ: Mapping[str, str]) -> Path:
    return Path(environ["HOME"]) if environ.get("HOME") else Path.home()


def did_you_mean(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else " (see docs/reference/settings.md)"


def _leaves(document: Mapping[str, Any], known: list[str], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        name = f"{above}{key}"
        if isinstance(value, dict) and any(other.startswith(f"{name}.") for other in known):
            yield from _leaves(value, known, f"{name}.")
        else:
            yield name, value
