"""From the process to a command, and from an error to a message and an exit status; never a traceback."""

import os
import sys
from pathlib import Path
from typing import NoReturn

from executor.cli.statuses import BROKEN_PIPE, UNREACHABLE, WRONG
from executor.model.errors import LedgerFull, RexError, StrategyInvalid, Unreachable


def run() -> NoReturn:
    """Run the command line, and leave with its exit status."""
    _ensure_ours()
    from executor.cli.app import app

    try:
        app()
    except StrategyInvalid as error:
        problems = error.problems
        for problem in problems:
            sys.stderr.write(f"{problem}\n")
        if len(problems) > 1:
            sys.stderr.write(f"{len(problems)} problems; nothing ran\n")
        _leave(WRONG)
    except (Unreachable, LedgerFull) as error:
        _complain(error, UNREACHABLE)
    except RexError as error:
        _complain(error, WRONG)
    except BrokenPipeError:  # `rex list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _leave(BROKEN_PIPE)
    except KeyboardInterrupt:
        _leave(130)
    except OSError as error:
        _complain(f"{error.filename}: {error.strerror}" if error.filename else error, WRONG)
    _leave(0)


def _ensure_ours() -> None:
    import config
    import executor

    ours, theirs = Path(str(executor.__file__)).parents[1], Path(str(config.__file__)).parent
    if theirs != ours / "config":
        _complain(f"{config.__file__} hides a package of ours: take its folder off PYTHONPATH", WRONG)


def _complain(error: object, status: int) -> NoReturn:
    sys.stderr.write(f"rex: {error}\n")
    _leave(status)


def _leave(status: int) -> NoReturn:
    sys.exit(status)
