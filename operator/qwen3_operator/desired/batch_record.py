"""What a batch's Job was made from, written on the Job: so that what runs is read from what is there.

What was resolved when the Job was made holds as long as the Job is there, whatever becomes of the Qwen3Deployment that
lent its model, of the defaults of this operator, and of the Qwen3Model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from qwen3_operator.api import GROUP
from qwen3_operator.api.batch import Qwen3BatchSpec
from qwen3_operator.api.conditions import Type
from qwen3_operator.desired.batch import job_name
from qwen3_operator.desired.patch import canonical
from qwen3_operator.naming import digest, model_name
from qwen3_operator.plan.batch import RUNNING, BatchPlan

ANNOTATION = f"{GROUP}/made-from"
MOST_BYTES = 200_000
"""An object takes 256 KiB of annotations; what is too long for that is left to the status."""
Object = Mapping[str, Any]

OF_SHARDS = {
    *("engine", "gpu", "resources", "scheduling", "verify"),
    *("concurrency", "stall_seconds", "api_key_secret_ref"),
}
"""Fields of the spec that reach a pod, beside the model, the patch and what is immutable."""


@dataclass(frozen=True)
class BatchRecord:
    """The annotation."""

    generation: int = 0
    """Newest generation of the spec that asks for this Job."""
    inputs: str = ""
    """Digest of what decides in that spec, see `inputs_of`."""
    model: Object = field(default_factory=dict)
    """`status.model`: the copy that the shards run on."""
    engine: Object = field(default_factory=dict)
    """`status.engine`."""
    plan: Sequence[Object] = ()
    """`status.plan`."""
    fits: Object = field(default_factory=dict)
    """Status, reason and message of the condition Fits."""
    warnings: Sequence[str] = ()
    """What the author of the spec was warned of."""
    servers: str = ""
    """The Qwen3Deployment whose servers answer; empty: an engine of the batch's own does."""

    def written(self) -> str:
        """As the annotation's text."""
        content = asdict(self)
        for dispensable in ("engine", "plan", "warnings", ""):
            text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
            if len(text.encode()) <= MOST_BYTES:
                break
            content.pop(dispensable, None)
        return text

    def serves(self, spec: Qwen3BatchSpec, generation: int) -> bool:
        """Whether the Job is what the spec asks for. A spec that nobody edited asks for nothing else, whatever another
        release makes of it."""
        return self.generation == generation or self.inputs == inputs_of(spec)

    def asked_for_by(self, spec: Qwen3BatchSpec, generation: int) -> BatchRecord:
        """The record of a Job that serves this spec."""
        return replace(self, generation=generation, inputs=inputs_of(spec), servers=servers_of(spec))


_RECORD = TypeAdapter(BatchRecord)


def inputs_of(spec: Qwen3BatchSpec) -> str:
    """Digest of what reaches a pod, or decides the answers, and may be edited. Defaults count as unset. Fields that a
    running Job takes over, or that only matter when it is made (preflight), are left out."""
    said = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True, include=OF_SHARDS)
    source = model_name(spec.model) if spec.model else ""
    lender = spec.deployment_ref.name if spec.deployment_ref else ""
    return digest([source, lender, said, canonical(spec.pod_template_patch)], 16)


def servers_of(spec: Qwen3BatchSpec) -> str:
    """The Qwen3Deployment whose servers a batch of this spec asks; empty: it has an engine of its own."""
    return spec.deployment_ref.name if spec.target == RUNNING and spec.deployment_ref else ""


def record_of_plan(spec: Qwen3BatchSpec, generation: int, plan: BatchPlan, model: str, copy: Object) -> BatchRecord:
    """What a Job is made from: `plan`, and the verified `copy` of the Qwen3Model called `model`."""
    fit = plan.engine.fit
    return BatchRecord(
        generation=generation,
        inputs=inputs_of(spec),
        model={"name": model} | dict(copy),
        engine=plan.engine_status(),
        plan=[value.as_status() for value in plan.engine.values],
        fits={"status": fit.status, "reason": fit.reason, "message": fit.message},
        warnings=[warning.message for warning in plan.engine.warnings],
        servers=servers_of(spec),
    )


def record_of(job: Object) -> BatchRecord | None:
    """What is written on a Job; None where nothing is (a release before made it), or nothing that can be read."""
    text = (job["metadata"].get("annotations") or {}).get(ANNOTATION)
    try:
        return _RECORD.validate_json(text) if text else None
    except ValidationError:
        return None


def record_of_earlier_release(job: Object, meta: Object, spec: Qwen3BatchSpec | None, status: Object) -> BatchRecord:
    """The record of a Job that a release made which wrote none: from the `status` that it wrote then.

    The Job is taken over as it is, unless the spec was edited since that release saw it and its name says otherwise.
    """
    condition: Object = next((c for c in status.get("conditions") or [] if c["type"] == Type.FITS), {})
    record = BatchRecord(
        model=_model_of_pods(job, status.get("model") or {}),
        engine=status.get("engine") or {},
        plan=status.get("plan") or [],
        fits={key: condition[key] for key in ("status", "reason", "message") if key in condition},
    )
    if spec is None:
        return record
    seen = status.get("observedGeneration") == meta["generation"]
    if seen or job["metadata"]["name"] == job_name(meta["name"], meta["uid"], spec):
        return record.asked_for_by(spec, meta["generation"])
    return record


def _model_of_pods(job: Object, recorded: Object) -> Object:
    """The copy that `status.model` records, if it is the one that the pods mount; else what their specs say."""
    volumes = job["spec"]["template"]["spec"].get("volumes") or []
    claims = [v["persistentVolumeClaim"] for v in volumes if v["name"] == "models" and v.get("persistentVolumeClaim")]
    mounted = [claim["claimName"] for claim in claims]
    if not mounted or recorded.get("claim") == mounted[0]:
        return recorded
    return {"name": mounted[0], "claim": mounted[0]}
