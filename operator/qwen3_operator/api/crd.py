"""The CustomResourceDefinitions, made from the models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qwen3_operator.api import GROUP, VERSION
from qwen3_operator.api.base import rule
from qwen3_operator.api.batch import Qwen3Batch
from qwen3_operator.api.deployment import Qwen3Deployment
from qwen3_operator.api.model import Qwen3Model
from qwen3_operator.api.schema import structural_schema

CATEGORY = "qwen3"
# Children add to the name: a Service's name is a DNS label, a pod's is the Deployment's with 17 characters more.
MAX_NAME = 45


def _condition(condition: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{condition}")].{field}'


def _column(name: str, path: str, kind: str = "string", *, wide: bool = False) -> dict[str, Any]:
    return {"name": name, "type": kind, "jsonPath": path} | ({"priority": 1} if wide else {})


def _name_matches(pattern: str) -> str:
    return f"self.metadata.name.size() <= {MAX_NAME} && self.metadata.name.matches('{pattern}')"


_AGE = _column("Age", ".metadata.creationTimestamp", "date")
_JOB_NAME = rule(
    _name_matches("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"),
    f"the name becomes a Job's: at most {MAX_NAME} lower-case letters, digits and '-'",
)
_SERVICE_NAME = rule(
    _name_matches("^[a-z]([-a-z0-9]*[a-z0-9])?$"),
    f"the name becomes a Service's: at most {MAX_NAME} lower-case letters, digits and '-', beginning with a letter",
)
# That Service is in `default`; a rule reads the name alone, never the namespace.
_NOT_THE_API_SERVERS = rule(
    "self.metadata.name != 'kubernetes'",
    "the name kubernetes is that of the API server's own Service: choose another",
)


def _crd(
    model: type[Qwen3Deployment] | type[Qwen3Model] | type[Qwen3Batch],
    short_name: str,
    columns: list[dict[str, Any]],
    *,
    selectable: Sequence[str],
    name_rules: Sequence[dict[str, str]],
    scale: dict[str, str] | None = None,
) -> dict[str, Any]:
    schema = structural_schema(model)
    schema["properties"]["metadata"] = {"type": "object"}
    schema["required"] = ["spec"]
    schema["x-kubernetes-validations"] = list(name_rules)
    # A CR that was never reconciled must not seem finished: kstatus reads an absent status as Current. The first
    # generation is 1.
    schema["properties"]["status"]["default"] = {"observedGeneration": 0}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{model.PLURAL}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "qwen3-operator"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": model.KIND,
                "listKind": f"{model.KIND}List",
                "plural": model.PLURAL,
                "singular": model.KIND.lower(),
                "shortNames": [short_name],
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}} | ({"scale": scale} if scale else {}),
                    "additionalPrinterColumns": columns,
                    "selectableFields": [{"jsonPath": path} for path in selectable],
                }
            ],
        },
    }


def crds() -> list[dict[str, Any]]:
    """All CustomResourceDefinitions, ready to be applied."""
    return [
        _crd(
            Qwen3Deployment,
            "q3d",
            [
                _column("Ready", _condition("Ready", "status")),
                _column("Reason", _condition("Ready", "reason")),
                _column("Model", ".status.model.id"),
                _column("Length", ".status.engine.maxModelLen", "integer"),
                _column("TP", ".spec.engine.tensorParallelSize", "integer"),
                _column("Replicas", ".spec.replicas", "integer"),
                _column("Available", ".status.readyReplicas", "integer"),
                _AGE,
                _column("Download", ".status.download.progress", wide=True),
                _column("Endpoint", ".status.endpoint", wide=True),
                _column("Image", ".status.engine.image", wide=True),
            ],
            selectable=[".spec.model.id", ".status.model.name"],
            name_rules=[_SERVICE_NAME, _NOT_THE_API_SERVERS],
            scale={
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        ),
        _crd(
            Qwen3Model,
            "q3m",
            [
                _column("Ready", _condition("Ready", "status")),
                _column("Reason", _condition("Ready", "reason")),
                _column("Model", ".spec.id"),
                _column("Commit", ".status.model.commit"),
                _column("Download", ".status.download.progress"),
                _column("Users", ".status.users", "integer"),
                _AGE,
                _column("Claim", ".status.model.claim", wide=True),
                _column("Size", ".status.size", wide=True),
            ],
            selectable=[".spec.id"],
            name_rules=[_JOB_NAME],
        ),
        _crd(
            Qwen3Batch,
            "q3b",
            [
                _column("Completed", _condition("Completed", "status")),
                _column("Reason", _condition("Ready", "reason")),
                _column("Model", ".status.model.name"),
                _column("Done", ".status.requests.done", "integer"),
                _column("Failed", ".status.requests.failed", "integer"),
                _column("Total", ".status.requests.total", "integer"),
                _column("ETA", ".status.etaSeconds", "integer"),
                _AGE,
                _column("Tokens/s", ".status.tokensPerSecond", "integer", wide=True),
                _column("Output", ".status.output", wide=True),
            ],
            selectable=[".spec.model.id", ".status.model.name"],
            name_rules=[_JOB_NAME],
        ),
    ]
