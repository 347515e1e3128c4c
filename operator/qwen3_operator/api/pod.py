"""Parts of Kubernetes' own Pod API that our kinds take and pass on: the same fields under the same names, and bounded.

The API server checks what they mean when the child is applied; here is only what keeps a spec small and typed. A child
says what its owner says and no more: what was not given is absent, and what was given empty is there, empty.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_serializer

from qwen3_operator.api.base import ATOMIC_LIST, ATOMIC_MAP, ApiModel, Key, LabelKey, LabelValue, Text

Weight = Annotated[int, Field(ge=1, le=100)]
Name = Annotated[str, StringConstraints(max_length=253)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=64, json_schema_extra=ATOMIC_MAP)]
# Gt and Lt compare numbers, and matchFields compares names of nodes, so values are not only those of labels.
Values = Annotated[list[Name], Field(max_length=256, json_schema_extra=ATOMIC_LIST)]
Names = Annotated[list[Name], Field(max_length=64, json_schema_extra=ATOMIC_LIST)]
LabelKeys = Annotated[list[LabelKey], Field(max_length=16, json_schema_extra=ATOMIC_LIST)]


class PodPart(ApiModel):
    """A part of a Pod, written out with the fields that were given."""

    @model_serializer(mode="plain")
    def _as_given(self) -> dict[str, Any]:
        names = ((str(field.alias), name) for name, field in type(self).model_fields.items())
        return {alias: getattr(self, name) for alias, name in names if name in self.model_fields_set}


class LabelRequirement(PodPart):
    """A requirement on one label."""

    key: LabelKey
    """The label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label and values are compared."""
    values: Values | None = None
    """Values for In and NotIn."""


class LabelSelector(PodPart):
    """A selector of labels, as in Kubernetes. Empty: everything."""

    match_expressions: Annotated[list[LabelRequirement], Field(max_length=16, json_schema_extra=ATOMIC_LIST)] | None = (
        None
    )
    """Requirements that all hold."""
    match_labels: Labels | None = None
    """Labels that all are there."""


class NodeRequirement(PodPart):
    """A requirement on one label or field of a node."""

    key: LabelKey
    """The label or field."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How it and values are compared."""
    values: Values | None = None
    """Values for In and NotIn; one number for Gt and Lt."""


NodeRequirements = Annotated[list[NodeRequirement], Field(max_length=16, json_schema_extra=ATOMIC_LIST)]


class NodeSelectorTerm(PodPart):
    """Requirements on a node that all hold."""

    match_expressions: NodeRequirements | None = None
    """Requirements on labels."""
    match_fields: NodeRequirements | None = None
    """Requirements on fields, like metadata.name."""


class NodeSelector(PodPart):
    """Terms of which one holds."""

    node_selector_terms: Annotated[list[NodeSelectorTerm], Field(max_length=16, json_schema_extra=ATOMIC_LIST)]
    """The terms."""


class PreferredNode(PodPart):
    """A preference for nodes."""

    weight: Weight
    """How much it counts, from 1 to 100."""
    preference: NodeSelectorTerm
    """The nodes."""


class NodeAffinity(PodPart):
    """Which nodes."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    """What a node must have."""
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[list[PreferredNode], Field(max_length=16, json_schema_extra=ATOMIC_LIST)] | None
    ) = None
    """What a node had better have."""


class PodAffinityTerm(PodPart):
    """Pods, and what part of the cluster counts as the same place."""

    label_selector: LabelSelector | None = None
    """Labels of the pods."""
    namespaces: Names | None = None
    """Namespaces of the pods. Default: the pod's own, where namespaceSelector is absent too."""
    namespace_selector: LabelSelector | None = None
    """Labels of the pods' namespaces. Empty: every namespace."""
    topology_key: Key
    """Label of nodes: those with the same value are the same place."""
    match_label_keys: LabelKeys | None = None
    """Labels whose value must be as in the new pod."""
    mismatch_label_keys: LabelKeys | None = None
    """Labels whose value must not be as in the new pod."""


class PreferredPods(PodPart):
    """A preference for, or against, places of pods."""

    weight: Weight
    """How much it counts, from 1 to 100."""
    pod_affinity_term: PodAffinityTerm
    """The pods."""


PodAffinityTerms = Annotated[list[PodAffinityTerm], Field(max_length=16, json_schema_extra=ATOMIC_LIST)]
PreferredPodTerms = Annotated[list[PreferredPods], Field(max_length=16, json_schema_extra=ATOMIC_LIST)]


class PodAffinity(PodPart):
    """Near which pods, or far from which."""

    required_during_scheduling_ignored_during_execution: PodAffinityTerms | None = None
    """What must hold."""
    preferred_during_scheduling_ignored_during_execution: PreferredPodTerms | None = None
    """What had better hold."""


class Affinity(PodPart):
    """Affinity, as in a pod."""

    node_affinity: NodeAffinity | None = None
    """Which nodes."""
    pod_affinity: PodAffinity | None = None
    """Near which pods."""
    pod_anti_affinity: PodAffinity | None = None
    """Far from which pods."""


class TopologySpreadConstraint(PodPart):
    """A topology spread constraint, as in a pod."""

    max_skew: Annotated[int, Field(ge=1, le=2**31 - 1)]
    """By how many pods two places may differ."""
    topology_key: Key
    """Label of nodes: those with the same value are the same place."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    """What becomes of a pod that no place takes."""
    label_selector: LabelSelector | None = None
    """The pods that are counted."""
    match_label_keys: LabelKeys | None = None
    """Labels whose value must be as in the new pod."""
    min_domains: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Places that must be there."""
    node_affinity_policy: Literal["Honor", "Ignore"] | None = None
    """Whether nodes that nodeSelector and affinity exclude are counted."""
    node_taints_policy: Literal["Honor", "Ignore"] | None = None
    """Whether nodes whose taints the pod does not tolerate are counted."""


class KeySelector(PodPart):
    """A key of a Secret or ConfigMap of the same namespace."""

    name: Name | None = None
    """Its name."""
    key: Key
    """The key."""
    optional: bool | None = None
    """Whether it may be absent."""


class FieldSelector(PodPart):
    """A field of the pod."""

    api_version: Name | None = None
    """Version of the API that the path is of. Default: v1."""
    field_path: Text
    """The field, like metadata.name."""


Divisor = Annotated[
    Literal[1, "1", "1m", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"],
    Field(json_schema_extra={"x-kubernetes-int-or-string": True}),
]
"""Those that a container may have: 1 and 1m of CPUs, the others of bytes."""


class ResourceFieldSelector(PodPart):
    """A resource of a container."""

    container_name: Name | None = None
    """The container. Default: this one."""
    resource: Name
    """The resource, like limits.memory."""
    divisor: Divisor | None = None
    """The unit. Default: 1."""


class FileKeySelector(PodPart):
    """A key of a file with environment variables on a volume."""

    volume_name: Name
    """The volume."""
    path: Text
    """The file inside the volume."""
    key: Key
    """The key."""
    optional: bool | None = None
    """Whether it may be absent."""


class EnvVarSource(PodPart):
    """The source of an environment variable, as in a container."""

    secret_key_ref: KeySelector | None = None
    """A key of a Secret."""
    config_map_key_ref: KeySelector | None = None
    """A key of a ConfigMap."""
    field_ref: FieldSelector | None = None
    """A field of the pod."""
    resource_field_ref: ResourceFieldSelector | None = None
    """A resource of a container."""
    file_key_ref: FileKeySelector | None = None
    """A key of a file on a volume."""
