"""``file.edit``: an existing text file is changed in place, in one of five ways."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, Field

from executor.action import Json, Run
from executor.model.errors import CONFIGURATION, UNMET, ActionError
from executor.model.strategy import Model
from workers.actions.atomic import prefix_of, put
from workers.actions.diffs import unified
from workers.actions.documents import set_keys, split_key
from workers.actions.exclusive import exactly_one
from workers.actions.file_change import FileChange, digest
from workers.actions.file_state import MAX_FILE_BYTES, State
from workers.actions.patches import apply_patch, read_patch
from workers.actions.substitution import substitute

WAYS = ("content", "append", "replace", "patch", "set")


class Replace(Model):
    """What to look for, and what to put there."""

    pattern: Annotated[str, Field(min_length=1)] = Field(description="Python regular expression, MULTILINE")
    with_: str = Field(alias="with", description="What replaces each match; literal unless `groups`")
    count: Annotated[int, Field(ge=0)] = Field(0, description="How many matches at most; 0: all")
    must_match: bool = Field(True, description="No match is an error")
    groups: bool = Field(False, description="`with` names groups of the pattern, as in \\1 or \\g<name>")


class Edit(FileChange):
    """Edit a text file in place; taken back by the bytes, mode and times from before.

    Bytes that are not UTF-8 are kept as they are. `set` keeps comments in TOML and YAML.
    """

    uses = "file.edit"

    class Parameters(Model):
        path: str = Field(description="Absolute path of the file, which must exist")
        content: str | None = Field(None, description="Its whole new text; may be a secret")
        append: str | None = Field(None, description="Text to add at its end")
        replace: Replace | None = Field(None, description="Replace what a regular expression matches")
        patch: str | None = Field(None, description="Unified diff of this file; every line must fit")
        set: dict[str, Any] | None = Field(
            None, description="Dotted keys of a JSON, YAML or TOML file and their values"
        )

    class Results(BaseModel):
        path: str = Field(description="Its real path, symbolic links resolved")
        changed: bool
        diff: str = Field(description="Unified diff, cut when long; empty where a secret was written")
        sha256: str

    def problems(self, parameters: Json) -> list[tuple[str, str]]:
        found = exactly_one(parameters, WAYS)
        patch, replace, keys = (parameters.get(name) for name in ("patch", "replace", "set"))
        if isinstance(patch, str) and "${{" not in patch:
            found += _problem("patch", lambda: read_patch(patch))
        if isinstance(replace, dict):
            pattern = replace.get("pattern")
            if isinstance(pattern, str) and "${{" not in pattern:
                found += _problem("replace.pattern", lambda: re.compile(pattern, re.MULTILINE))
        if isinstance(keys, dict):
            for key in keys:
                if isinstance(key, str) and "${{" not in key:
                    found += _problem(f"set.{key}", lambda key=key: split_key(key))
        return found

    def after(self, run: Run, path: str, before: State | None) -> bytes:
        if before is None:
            raise ActionError(f"{path} does not exist: file.create makes new files", CONFIGURATION)
        parameters = run.parameters
        if parameters.content is not None:
            return str(run.secret(parameters.content)).encode()
        if parameters.append is not None:
            return before.content + str(run.secret(parameters.append)).encode()
        text = before.content.decode("utf-8", "surrogateescape")
        if parameters.replace is not None:
            text = _replaced(run, path, text, parameters.replace)
        elif parameters.patch is not None:
            text = apply_patch(text, parameters.patch)
        elif parameters.set is not None:
            text = set_keys(text, path, parameters.set)
        else:
            raise ActionError(f"file.edit needs one of {', '.join(WAYS)}", CONFIGURATION)
        changed = text.encode("utf-8", "surrogateescape")
        if len(changed) > MAX_FILE_BYTES:
            raise ActionError(f"{path} would have {len(changed)} bytes, more than {MAX_FILE_BYTES}", CONFIGURATION)
        return changed

    def execute(self, run: Run) -> Json:
        path, before, now = self.begin(run)
        content = self.after(run, path, before)
        old = b"" if before is None else before.content
        if now is not None and content != now.content:
            put(path, content, prefix=prefix_of(run.key), before=now, proceed=run.proceed)
        secret = any(str(getattr(run.parameters, way)).startswith("secret://") for way in ("content", "append"))
        return {
            "path": path,
            "changed": content != old,
            # the lines that a secret replaced are likely to be one too
            "diff": "" if secret else unified(old, content, path),
            "sha256": digest(content),
        }


def _replaced(run: Run, path: str, text: str, what: Replace) -> str:
    changed, found = substitute(run, text, what.pattern, what.with_, count=what.count, groups=what.groups)
    if found == 0 and what.must_match:
        raise ActionError(
            f"pattern {what.pattern!r} matches nothing in {path}; say `must_match: false` where that is no error",
            UNMET,
        )
    return changed


def _problem(where: str, check: Any) -> list[tuple[str, str]]:
    try:
        check()
    except (ActionError, re.error, OverflowError, RecursionError) as error:
        return [(where, str(error))]
    return []
