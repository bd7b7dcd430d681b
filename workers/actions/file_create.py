"""``file.create``: a new file, or a new content over an old one."""

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from executor.action import Json, Run
from executor.model.errors import CONFIGURATION, ActionError
from executor.model.strategy import Model
from workers.actions.atomic import make_directories, missing_directories, prefix_of, put
from workers.actions.exclusive import exactly_one
from workers.actions.file_change import FileChange, digest
from workers.actions.file_state import State, read_state, real_path

Mode = Annotated[str, StringConstraints(pattern=r"^0?[0-7]{3,4}$")]


class Create(FileChange):
    """Create a file; taken back by removing it, or by restoring what was there."""

    uses = "file.create"

    class Parameters(Model):
        path: str = Field(description="Absolute path of the file")
        content: str | None = Field(None, description="Its text, written as UTF-8; may be a secret")
        source: str | None = Field(None, description="Absolute path of a file on the device whose bytes it gets")
        mode: Mode | None = Field(None, description="Octal digits in quotes, such as '0644'; default: the umask's")
        parents: bool = Field(False, description="Create missing directories above it")
        overwrite: bool = Field(False, description="Replace a file that is there")

    class Results(BaseModel):
        path: str = Field(description="Its real path, symbolic links resolved")
        created: bool = Field(description="False when a file was there before")
        sha256: str

    def problems(self, parameters: Json) -> list[tuple[str, str]]:
        return exactly_one(parameters, ("content", "source"))

    def admit(self, run: Run, path: str, before: State | None) -> None:
        parameters = run.parameters
        if before is not None and not parameters.overwrite:
            raise ActionError(f"{path} exists: say `overwrite: true` to replace it", CONFIGURATION)
        missing = missing_directories(path)
        if missing and not parameters.parents:
            raise ActionError(
                f"cannot create {path}: the directory {missing[-1]} does not exist; say `parents: true` to create it",
                CONFIGURATION,
            )

    def after(self, run: Run, path: str, before: State | None) -> bytes:  # noqa: ARG002
        parameters = run.parameters
        if parameters.content is not None:
            return str(run.secret(parameters.content)).encode()
        if parameters.source is None:
            raise ActionError("file.create needs one of content and source", CONFIGURATION)
        source = read_state(real_path(parameters.source))
        if source is None:
            raise ActionError(f"source {parameters.source} does not exist", CONFIGURATION)
        return source.content

    def mode_after(self, run: Run, before: State | None) -> int | None:  # noqa: ARG002
        mode = run.parameters.mode
        return None if mode is None else int(mode, 8)

    def execute(self, run: Run) -> Json:
        path, before, now = self.begin(run)
        content = self.after(run, path, before)
        mode = self.mode_after(run, now)
        if now is None or now.content != content or mode not in (None, now.mode):
            run.proceed()
            make_directories(missing_directories(path))
            put(path, content, prefix=prefix_of(run.key), before=now, mode=mode, proceed=run.proceed)
        return {"path": path, "created": before is None, "sha256": digest(content)}
