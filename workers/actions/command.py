"""``command``: runs a program on the device."""

import json
import signal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from executor.action import ActionType, Json, Run
from executor.model.errors import CONFIGURATION, TRANSIENT, UNMET, ActionError
from executor.model.strategy import Model
from executor.results import MAX_RESULT_BYTES
from workers.actions.exclusive import exactly_one
from workers.actions.processes import Finished, inherited_environment, run_process

Word = str | int | float
_LAST_WORDS = 2000
_NOT_RUN = (126, 127)
"""What a shell answers when it cannot run, or cannot find, the program."""


class Command(ActionType):
    """Run a program, with its whole process tree under control.

    At the deadline, on cancel and on failure everything that it started is killed. What it leaves running after an
    expected exit code stays: a restart may start a daemon.
    """

    uses = "command"
    local = True
    permissions = ("command.run",)
    isolated = False

    class Parameters(Model):
        run: str | None = Field(None, description="Command line for `sh -c`; expressions in it are shell-quoted")
        argv: Annotated[list[Word], Field(min_length=1)] | None = Field(
            None, description="Program and arguments, without a shell"
        )
        cwd: str | None = Field(None, description="Absolute directory to run in; default: /")
        env: dict[str, Word | bool] = Field(
            {}, description="Variables beside those of the worker; values may be secrets"
        )
        stdin: str | None = Field(None, description="Text that it reads; may be a secret")
        expect_exit: list[int] | int = Field([0], description="Exit codes that mean success")
        parse: Literal["text", "json", "lines"] = Field("text", description="How stdout becomes `parsed`")

    class Results(BaseModel):
        exit_code: int = Field(description="128 + signal for a program that was killed by one")
        stdout: str = Field(description="Its first 64 KB")
        stderr: str = Field(description="Its first 64 KB")
        stdout_cut: bool = Field(description="Whether there was more")
        stderr_cut: bool
        parsed: Any = Field(description="stdout without its last newline, as JSON, or as a list of lines")

    def problems(self, parameters: Json) -> list[tuple[str, str]]:
        found = exactly_one(parameters, ("run", "argv"))
        cwd = parameters.get("cwd")
        if isinstance(cwd, str) and not cwd.startswith(("/", "${{")):
            found.append(("cwd", f"{cwd!r} is relative: paths are absolute"))
        for name in ("run", "argv"):
            value = parameters.get(name)
            if "secret://" in (" ".join(map(str, value)) if isinstance(value, list) else str(value)):
                found.append((name, "a secret would show in the process list: give it by `env` or `stdin`"))
        return found

    def execute(self, run: Run) -> Json:
        parameters = run.parameters
        argv = ["sh", "-c", parameters.run] if parameters.run is not None else [str(w) for w in parameters.argv or ()]
        shown = parameters.run if parameters.run is not None else " ".join(argv)
        if not argv:
            raise ActionError("command needs one of run and argv", CONFIGURATION)
        if parameters.cwd is not None and not parameters.cwd.startswith("/"):
            raise ActionError(f"cwd {parameters.cwd!r} is relative: paths are absolute", CONFIGURATION)
        accepted = [parameters.expect_exit] if isinstance(parameters.expect_exit, int) else parameters.expect_exit
        env = inherited_environment({name: run.secret(_text(value)) for name, value in parameters.env.items()})
        stdin = b"" if parameters.stdin is None else str(run.secret(parameters.stdin)).encode()
        run.proceed()
        finished = run_process(
            argv,
            name=_shortened(shown),
            cwd=parameters.cwd,
            env=env,
            stdin=stdin,
            remaining_s=run.remaining_s,
            cancelled=run.cancelled,
            keep_tree_on=accepted,
        )
        if finished.exit_code not in accepted:
            raise _failed(run, finished, shown, parameters.cwd, accepted)
        return _result(finished, parameters.parse)


def _result(finished: Finished, parse: str) -> Json:
    result: Json = {
        "exit_code": finished.exit_code,
        "stdout": finished.text,
        "stderr": finished.error_text,
        "stdout_cut": finished.stdout_cut,
        "stderr_cut": finished.stderr_cut,
        "parsed": _parsed(finished, parse),
    }
    # output that is not text grows in JSON: what stays must fit into a result
    while (size := len(json.dumps(result, ensure_ascii=False).encode())) > MAX_RESULT_BYTES:
        longer = max(("stdout", "stderr"), key=lambda name: len(result[name]))
        if not result[longer]:
            raise ActionError(f"stdout parsed as {parse} is {size} bytes of JSON, too long for a result", UNMET)
        result[longer] = result[longer][: len(result[longer]) // 2]
        result[f"{longer}_cut"] = True
        if parse == "text" and longer == "stdout":
            result["parsed"] = result["stdout"]
    return result


def _parsed(finished: Finished, parse: str) -> Any:
    text = finished.text
    if parse == "lines":
        return text.splitlines()
    if parse == "text":
        return text.removesuffix("\n").removesuffix("\r")
    if finished.stdout_cut:
        raise ActionError(f"stdout is longer than the {len(finished.stdout)} bytes that are kept: no JSON", UNMET)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ActionError(f"stdout is not JSON: {error}; it begins with {text[:200]!r}", UNMET) from error


def _failed(run: Run, finished: Finished, shown: str, cwd: str | None, accepted: list[int]) -> ActionError:
    code = finished.exit_code
    expected = "" if accepted == [0] else f", expected {' or '.join(map(str, accepted))}"
    name = signal.Signals(code - 128).name if code - 128 in signal.valid_signals() and code > 128 else ""
    by = f" ({name})" if name else ""
    # masked before it is cut: half a secret would not be found
    words = run.mask((finished.last_words or finished.stdout[-_LAST_WORDS:]).decode("utf-8", "replace")).strip()
    place = f" in {cwd}" if cwd else ""
    return ActionError(
        f"command {_shortened(shown)!r}{place} ended with {code}{by}{expected}"
        + (f": {words[-_LAST_WORDS:]}" if words else ", and said nothing"),
        CONFIGURATION if code in _NOT_RUN else TRANSIENT,
    )


def _shortened(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}..."


def _text(value: Word | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
