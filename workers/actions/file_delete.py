"""``file.delete``: a file is removed; taken back from the saved bytes."""

from pydantic import BaseModel, Field

from executor.action import Json, Run
from executor.model.errors import CONFIGURATION, ActionError
from executor.model.strategy import Model
from workers.actions.atomic import remove
from workers.actions.file_change import FileChange
from workers.actions.file_state import State


class Delete(FileChange):
    """Delete a file; taken back by restoring bytes, mode and times."""

    uses = "file.delete"

    class Parameters(Model):
        path: str = Field(description="Absolute path of the file")
        missing_ok: bool = Field(False, description="A file that is not there is no error")

    class Results(BaseModel):
        path: str = Field(description="Its real path, symbolic links resolved")
        deleted: bool = Field(description="False when nothing was there")

    def admit(self, run: Run, path: str, before: State | None) -> None:
        if before is None and not run.parameters.missing_ok:
            raise ActionError(f"{path} does not exist: say `missing_ok: true` where that is no error", CONFIGURATION)

    def after(self, run: Run, path: str, before: State | None) -> None:  # noqa: ARG002
        return None

    def execute(self, run: Run) -> Json:
        path, before, now = self.begin(run)
        if now is not None:
            remove(path, before=now, proceed=run.proceed)
        return {"path": path, "deleted": before is not None}
