"""A stage as a Celery canvas."""

from celery import Celery

from executor.canvas import stage_canvas
from executor.model.plan import Call, Plan, Step, group


def test_an_action_may_be_called_as_it_likes() -> None:
    named = ("advance", "begin", "run")
    steps = [Step(id=name, call=Call(uses="wait"), device="edge-1", timeout_s=1.0) for name in named]
    canvas = stage_canvas(Celery(), Plan(stages=(group(steps),), strategy="s"), "E1", 0, 0)
    ids = [task.options["task_id"] for task in (*canvas.tasks, canvas.body)]
    assert len(set(ids)) == len(named) + 1
