"""What `doctor` makes of what it found. Pure: facts in, verdicts with remedies out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from qwen3_operator.api import GROUP, VERSION
from qwen3_operator.plugin.installed import Installed
from qwen3_operator.plugin.names import KINDS
from qwen3_operator.plugin.objects import condition
from qwen3_operator.plugin.rights import Right
from qwen3_operator.plugin.show import age, clean, duration

Object = Mapping[str, Any]
Verdict = Literal["ok", "warning", "wrong", "unknown"]
OLDEST_KUBERNETES = (1, 31)
"""Field selectors of CRDs. The chart says the same; a test holds both equal."""
MOST_NAMED = 5
_MANY_NODES = (
    *("nfs", "efs", "ceph-fs", "cephfs", "azurefile", "file.csi.azure", "filestore", "fsx", "lustre", "juicefs"),
    *("nasplugin", "gpfs", "spectrum", "longhorn", "portworx", "glusterfs", "weka", "vast", "quobyte"),
)
"""Parts of the names of provisioners whose volumes many nodes can mount: a StorageClass does not say."""


@dataclass(frozen=True)
class Check:
    """One thing that was checked."""

    name: str
    verdict: Verdict
    message: str
    to_do: str = ""


@dataclass(frozen=True)
class Found:
    """What was found of a cluster. None: it may not be seen."""

    now: datetime
    namespace: str
    own_version: str
    kubernetes: str = ""
    served: frozenset[str] = frozenset()
    """Resources of our group and version."""
    fields: Mapping[str, frozenset[str]] | None = None
    """Kind -> the paths of its fields, as the API server publishes them."""
    own_fields: Mapping[str, frozenset[str]] = field(default_factory=dict)
    operators: Sequence[Installed] | None = None
    leases: Mapping[str, Object | None] = field(default_factory=dict)
    """Namespace of an operator -> its Lease. Absent: it may not be seen."""
    missing_rights: Mapping[str, Sequence[Right]] | None = None
    """User name of an operator -> what it may not do."""
    not_allowed: Mapping[str, Sequence[Right]] = field(default_factory=dict)
    """What this person would do -> the rights that are missing."""
    nodes: Sequence[Object] | None = None
    storage_classes: Sequence[Object] | None = None
    claims: Sequence[Object] | None = None
    objects: Sequence[Object] | None = None
    """Custom resources of all that may be seen."""


def checks(found: Found) -> list[Check]:
    """Everything that was checked, in the order in which one needs the other."""
    return [
        *_kubernetes(found),
        *_crds(found),
        *_operator(found),
        *_rights(found),
        *_nodes(found),
        *_storage(found),
        *_objects(found),
    ]


def _kubernetes(found: Found) -> Iterator[Check]:
    parts = found.kubernetes.lstrip("v").split(".")
    try:
        version = int(parts[0]), int(parts[1])
    except (ValueError, IndexError):
        yield Check("Kubernetes", "unknown", f"the API server does not tell its version: {clean(found.kubernetes)!r}")
        return
    oldest = ".".join(map(str, OLDEST_KUBERNETES))
    if version < OLDEST_KUBERNETES:
        yield Check("Kubernetes", "wrong", f"{found.kubernetes} is older than {oldest}", "upgrade the cluster")
    else:
        yield Check("Kubernetes", "ok", f"{clean(found.kubernetes)} ({oldest} or newer is needed)")


def _crds(found: Found) -> Iterator[Check]:
    missing = [kind.plural for kind in KINDS if kind.plural not in found.served]
    if missing:
        words = f"{GROUP}/{VERSION} lacks {', '.join(missing)}"
        yield Check("CRDs", "wrong", words, "helm install brings them; or kubectl apply --server-side -f crds/")
        return
    yield Check("CRDs", "ok", f"{GROUP}/{VERSION} serves {', '.join(kind.plural for kind in KINDS)}")
    if found.fields is None:
        yield Check("CRDs' fields", "unknown", "the API server does not publish them")
        return
    lacking = {f"{k}.{path}" for k, paths in found.own_fields.items() for path in paths - found.fields.get(k, paths)}
    beyond = {f"{k}.{path}" for k, paths in found.fields.items() for path in paths - found.own_fields.get(k, paths)}
    if lacking:
        words = f"they lack {_some(lacking)}, which version {found.own_version} has: they are of an older release"
        yield Check("CRDs' fields", "warning", words, "helm upgrade; crds.install must be true")
    elif beyond:
        words = f"they have {_some(beyond)}, which version {found.own_version} of this command does not know"
        yield Check("CRDs' fields", "warning", words, "install the newer kubectl-qwen3")
    else:
        yield Check("CRDs' fields", "ok", f"those of version {found.own_version}")


def _operator(found: Found) -> Iterator[Check]:
    if found.operators is None:
        yield Check("operator", "unknown", "you may not look for it", "ask who runs it, or name its namespace by -n")
        return
    if not found.operators:
        yield Check("operator", "wrong", "no operator was found", "helm install qwen3-operator")
        return
    for it in found.operators:
        yield _runs(it, found)
        yield _leads(it, found)


def _runs(it: Installed, found: Found) -> Check:
    status = it.deployment.get("status") or {}
    where, ready = f"{it.namespace}/{it.name}", int(status.get("readyReplicas") or 0)
    serves = f"serves {', '.join(it.namespaces) if it.namespaces else 'all namespaces'}"
    if not ready:
        to_do = f"kubectl -n {it.namespace} describe pods -l {it.pod_selector}"
        return Check("operator", "wrong", f"{where} ({clean(it.image)}) is not ready", to_do)
    if it.namespaces and found.namespace not in it.namespaces:
        return Check("operator", "warning", f"{where} {serves}, and not {found.namespace}", "see watchNamespaces")
    if it.version and it.version != found.own_version:
        words = f"{where} is version {clean(it.version)}, this command {found.own_version}"
        return Check("operator", "warning", words, "what they know differs: install the same")
    return Check("operator", "ok", f"{where} is ready and {serves}: {clean(it.image)}")


def _leads(it: Installed, found: Found) -> Check:
    if it.namespace not in found.leases:
        return Check("Lease", "unknown", f"you may not read that of {it.namespace}/{it.name}")
    lease = found.leases[it.namespace]
    if lease is None:
        if it.settings.get("lease_name", it.name) == "":
            return Check("Lease", "ok", f"{it.namespace}/{it.name} uses none, as it is set")
        return Check("Lease", "wrong", f"{it.namespace}/{it.name} has none: it has not begun to work", "read its log")
    spec = lease.get("spec") or {}
    holder, since = clean(spec.get("holderIdentity") or ""), age(spec.get("renewTime"), found.now)
    limit = int(spec.get("leaseDurationSeconds") or 15)
    if not holder:
        return Check("Lease", "wrong", "nobody holds it: no operator is at work", "does its pod run? read its log")
    if since is None or since > limit:
        words = f"{holder} renewed it {duration(since)} ago, and should every {limit} s: it hangs or is gone"
        return Check("Lease", "wrong", words, "does its pod run? read its log")
    return Check("Lease", "ok", f"{holder} renewed it {duration(since)} ago")


def _rights(found: Found) -> Iterator[Check]:
    if found.missing_rights is None and found.operators:
        yield Check("operator's rights", "unknown", "you may not ask for those of others (subjectaccessreviews)")
    for user, missing in (found.missing_rights or {}).items():
        if missing:
            yield Check("operator's rights", "wrong", f"{user} may not {_some(map(str, missing))}", "helm upgrade")
        else:
            yield Check("operator's rights", "ok", f"{user} may do all that the chart grants")
    for what, missing in found.not_allowed.items():
        if missing:
            words = f"in namespace {found.namespace} you may not {what}: {_some(map(str, missing))}"
            yield Check("your rights", "warning", words, "the roles view, edit and admin include what is needed")
    if found.not_allowed and not any(found.not_allowed.values()):
        yield Check("your rights", "ok", f"in namespace {found.namespace} you may {', '.join(found.not_allowed)}")


def _nodes(found: Found) -> Iterator[Check]:
    from qwen3_operator.engine.node_gpus import gpus_of_node, memory_label

    if found.nodes is None:
        yield Check("GPUs", "unknown", "you may not read nodes")
        return
    kinds: Counter[str] = Counter()
    silent: dict[str, str] = {}
    for node in found.nodes:
        labels = node["metadata"].get("labels") or {}
        allocatable = (node.get("status") or {}).get("allocatable") or {}
        for resource in sorted(filter(_is_gpu, allocatable)):
            gpus = gpus_of_node(labels, allocatable, resource)
            if not gpus.count:
                continue
            card = gpus.gpu()
            memory = f" of {card.memory_gib:.0f} GiB" if card else ""
            kinds[f"{gpus.count} × {clean(gpus.product) or resource}{memory} ({resource})"] += 1
            if card is None:
                silent[resource] = memory_label(resource)
    if not kinds:
        words = f"none of {len(found.nodes)} nodes has a GPU that is allocatable"
        yield Check("GPUs", "wrong", words, "install the GPU's device plugin, and look at kubectl describe node")
        return
    words = "; ".join(f"{nodes} nodes with {what}" for what, nodes in kinds.most_common(MOST_NAMED))
    yield Check("GPUs", "ok", words)
    for resource, label in sorted(silent.items()):
        to_do = f"GPU Feature Discovery labels them ({label})" if label else "set spec.gpu.memory"
        yield Check("GPU labels", "warning", f"no label tells the memory of {resource}: fits cannot be judged", to_do)


def _is_gpu(resource: str) -> bool:
    return resource.endswith(("/gpu", "/gpu.shared")) or "/mig-" in resource


def _storage(found: Found) -> Iterator[Check]:
    if found.storage_classes is None:
        yield Check("storage", "unknown", "you may not read storage classes")
    else:
        yield from _classes(found.storage_classes)
    pending = [c for c in found.claims or () if (c.get("status") or {}).get("phase") != "Bound"]
    if pending:
        names = _some(f"{c['metadata']['namespace']}/{c['metadata']['name']}" for c in pending)
        yield Check("claims", "warning", f"not bound: {names}", "kubectl describe pvc; some bind with their first pod")
    elif found.claims:
        modes = Counter(",".join((c.get("spec") or {}).get("accessModes") or ()) for c in found.claims)
        yield Check("claims", "ok", f"{len(found.claims)} bound: {', '.join(f'{n} {m}' for m, n in modes.items())}")


def _classes(classes: Sequence[Object]) -> Iterator[Check]:
    if not classes:
        to_do = "make one, or name existing claims (spec.model.storage.existingClaim)"
        yield Check("storage", "wrong", "there is no StorageClass", to_do)
        return
    default = [c["metadata"]["name"] for c in classes if _is_default(c)]
    words = ", ".join(_class_words(c) for c in classes[:MOST_NAMED])
    if default:
        yield Check("storage", "ok", words)
    else:
        yield Check("storage", "warning", f"{words}: none is the default", "name one in spec.model.storage")
    if not any(_many_nodes(c) for c in classes):
        words = "no class is known for volumes that several nodes can mount (ReadWriteMany)"
        to_do = "servers of one model then share a node, or need a class of NFS or the like"
        yield Check("shared volumes", "warning", words, to_do)


def _class_words(it: Object) -> str:
    marks = [clean(it.get("provisioner") or "")]
    marks += ["default"] if _is_default(it) else []
    marks += ["ReadWriteMany"] if _many_nodes(it) else []
    marks += ["grows"] if it.get("allowVolumeExpansion") else []
    return f"{it['metadata']['name']} ({', '.join(marks)})"


def _is_default(it: Object) -> bool:
    annotations = it["metadata"].get("annotations") or {}
    return annotations.get("storageclass.kubernetes.io/is-default-class") == "true"


def _many_nodes(it: Object) -> bool:
    return any(part in str(it.get("provisioner") or "").lower() for part in _MANY_NODES)


def _objects(found: Found) -> Iterator[Check]:
    from qwen3_operator.engine.version import NEWEST_KNOWN, OLDEST_SUPPORTED, EngineVersion

    if found.objects is None:
        yield Check("resources", "unknown", "you may not list them")
        return
    stalled = [obj for obj in found.objects if _stalled(obj)]
    if stalled:
        names = _some(f"{o['metadata']['namespace']}/{o['metadata']['name']} ({_stalled(o)})" for o in stalled)
        yield Check("resources", "warning", f"{len(stalled)} wait for a person: {names}", "kubectl qwen3 status NAME")
    elif found.objects:
        yield Check("resources", "ok", f"none of {len(found.objects)} waits for a person")
    versions = Counter(
        version for obj in found.objects if (version := ((obj.get("status") or {}).get("engine") or {}).get("version"))
    )
    odd = [v for v in versions if not OLDEST_SUPPORTED <= (EngineVersion.parse(v) or NEWEST_KNOWN) <= NEWEST_KNOWN]
    known = f"{OLDEST_SUPPORTED} to {NEWEST_KNOWN} are known"
    if odd:
        yield Check("vLLM", "warning", f"{_some(odd)}: {known}", "other flags may be needed: spec.engine.image")
    elif versions:
        yield Check("vLLM", "ok", f"{', '.join(f'{v} ({n})' for v, n in versions.most_common(MOST_NAMED))}; {known}")


def _stalled(obj: Object) -> str:
    """The reason, where it waits for a person."""
    stalled = condition(obj, "Stalled")
    return clean(stalled.get("reason")) if stalled.get("status") == "True" else ""


def _some(names: Iterable[str]) -> str:
    found = sorted(set(names))
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return ", ".join(found[:MOST_NAMED]) + more


def field_paths(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Paths of all fields of spec and status."""
    for name, below in (schema.get("properties") or {}).items():
        if not path and name not in ("spec", "status"):
            continue
        here = f"{path}.{name}".lstrip(".")
        yield here
        yield from field_paths(below, here)
        items = below.get("items")
        if isinstance(items, Mapping):
            yield from field_paths(items, f"{here}[]")
