"""From the process to a command, and from an error to a message and an exit status; never a traceback."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from executor.cli.output import note
from executor.cli.statuses import BROKEN_PIPE, UNREACHABLE, WRONG
from executor.cli.streams import open_all
from executor.model.errors import LedgerFull, RexError, StrategyInvalid, Unreachable


def run() -> NoReturn:
    """Run the command line, and leave with its exit status."""
    open_all()
    _ensure_ours()
    from executor.cli.app import app

    try:
        app()
    except StrategyInvalid as error:
        problems = error.problems
        for problem in problems:
            note(str(problem))
        if len(problems) > 1:
            note(f"{len(problems)} problems; nothing ran")
        _leave(WRONG)
    except (Unreachable, LedgerFull) as error:
        _complain(error, UNREACHABLE)
    except RexError as error:
        _complain(error, WRONG)
    except BrokenPipeError:  # `rex list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _leave(BROKEN_PIPE)
    except OSError as error:
        _complain(f"{error.filename}: {error.strerror}" if error.filename else error, WRONG)
    _leave(0)


def _ensure_ours() -> None:
    found = find_spec("config")  # looked for, not loaded: it may be anything
    if found is None or found.origin is None or Path(found.origin).parents[1] != Path(__file__).parents[2]:
        where = found.origin if found else "nothing"
        _complain(f"{where} hides a package of ours, `config`: take its folder off PYTHONPATH", WRONG)


def _complain(error: object, status: int) -> NoReturn:
    note(f"rex: {error}")
    _leave(status)


def _leave(status: int) -> NoReturn:
    sys.exit(status)
