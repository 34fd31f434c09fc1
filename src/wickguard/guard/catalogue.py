"""The catalogue: which model a request is for.

Decides by task and name; without a name it is the first model of the task. It must not know how requests are spelled.
"""

from __future__ import annotations

from collections.abc import Mapping

from wickguard.backend import ModelSpec, Task
from wickguard.rejection import Reason, Rejection


def find_model(models: Mapping[str, ModelSpec], task: Task, name: str | None) -> ModelSpec | Rejection:
    """The model that a request for `task` means."""
    fitting = {key: spec for key, spec in models.items() if spec.task is task}
    if name is None and fitting:
        return next(iter(fitting.values()))
    found = fitting.get(name or "")
    if found is not None:
        return found
    if not fitting:
        return Rejection(Reason.UNKNOWN_MODEL, f"no model here does {task}", "model", accepted="another server")
    detail = f"it does not {task}" if name in models else ""
    return Rejection(Reason.UNKNOWN_MODEL, detail, "model", accepted=", ".join(fitting))
