"""ModelReady: the Qwen3Model as those see it that take their weights from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from qwen3_operator.api.conditions import Type, condition_of, is_current
from qwen3_operator.api.reasons import Reason
from qwen3_operator.api.source import ModelSource
from qwen3_operator.naming import model_path
from qwen3_operator.status.conditions import Conditions

Object = Mapping[str, Any]


def model_condition(model: Object | None, kind: Type = Type.READY) -> Mapping[str, Any]:
    """A condition of a Qwen3Model, empty where there is none."""
    return condition_of(model, kind)


def verified_copy(model: Object | None) -> Mapping[str, Any] | None:
    """The copy of a Qwen3Model that may be served: of its revision, or of the one before while that downloads."""
    copy: Mapping[str, Any] | None = ((model or {}).get("status") or {}).get("model")
    return copy if copy and copy.get("commit") else None


def source_of(model: Object) -> ModelSource | None:
    """The checkpoint that a Qwen3Model names; None where that cannot be read, though the API server took it: what is
    wrong with it is its own status' to say, and no failure of those who use it."""
    try:
        return ModelSource.model_validate(model.get("spec"))
    except ValidationError:
        return None


def is_stalled(model: Object | None) -> bool:
    """Whether a Qwen3Model waits for a person, by its present spec."""
    return model is not None and is_current(model) and model_condition(model, Type.STALLED).get("status") == "True"


def set_model_ready(conditions: Conditions, model: Object | None, fault_at: str | None) -> None:
    """Set ModelReady. `fault_at`: when a server of this user met a fault in the copy, which is then verified again;
    other users go on with it."""
    if model is None:
        conditions.set(Type.MODEL_READY, "False", Reason.NO_MODEL, Reason.NO_MODEL.meaning)
        return
    ready, copy = model_condition(model), None if _is_lost(model) else verified_copy(model)
    name, words = f"Qwen3Model {model['metadata']['name']}", ready.get("message", "")
    reason = Reason.known(ready.get("reason"), Reason.WAITING)
    if ready.get("status") == "True":
        conditions.set(Type.MODEL_READY, "True", Reason.READY, f"{name}: {words}")
    elif copy is not None and not _is_wanted(copy, model):
        words = f"{name} serves commit {copy['commit']} until the next is there: {words}"
        conditions.set(Type.MODEL_READY, "True", Reason.SERVES_REVISION_BEFORE, words)
    elif copy is not None and not fault_at and reason is Reason.VERIFYING:
        conditions.set(Type.MODEL_READY, "True", Reason.VERIFIED_AGAIN, f"{name}: {words}")
    elif copy is not None and not fault_at:
        # As good as it was, whatever else is wrong with its model.
        conditions.set(Type.MODEL_READY, "True", reason, f"{name} serves its copy all the same: {words}")
    elif not is_current(model):
        conditions.set(Type.MODEL_READY, "False", Reason.WAITING, f"{name}: its change has just begun")
    else:
        words = f"{name}: {words or 'nothing is known yet'}"
        conditions.set(Type.MODEL_READY, "False", reason, words, stalled=is_stalled(model))


def _is_lost(model: Object) -> bool:
    """Whether the volume that the copy was on is gone."""
    return model_condition(model, Type.VOLUME_BOUND).get("status") == "False"


def _is_wanted(copy: Object, model: Object) -> bool:
    """Whether the copy is of the revision and the files that the Qwen3Model names now, as far as anybody can read."""
    source = source_of(model)
    if source is None:
        return True
    wanted = {"revision": source.revision, "path": model_path(source)}
    return all(copy.get(key, it) == it for key, it in wanted.items())
