"""What simulated pods, nodes and claims do, as kwok Stages.

A Stage is "when this jq expression holds for an object, write that status". A pod becomes Ready at once, a Job's pod
completes at once. Annotations on the pod, which a test sets through podTemplatePatch or `kubectl annotate`, make it
do something else; README.md lists them. They may change while the pod lives.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]
PREFIX = "devcluster.qwen3.dev/"
DOWNLOAD_LABEL = ("app.kubernetes.io/component", "download")


@dataclass(frozen=True)
class FakeDownload:
    """How the pods of download Jobs end when no annotation says otherwise."""

    report: dict[str, Any] | str | None = None  # the termination message; an object is written as JSON
    exit_code: int = 0
    seconds: float = 0.0  # how long they run before

    @property
    def message(self) -> str:
        if self.report is None or isinstance(self.report, str):
            return self.report or ""
        return json.dumps(self.report, ensure_ascii=False)


def all_stages(download: FakeDownload) -> list[Manifest]:
    """Every Stage of a cluster."""
    return [node_ready(), pod_run(), pod_waiting(), pod_complete(download), pod_delete(), claim_grow()]


def node_ready() -> Manifest:
    """A new node becomes Ready; kwok renews its Lease by itself."""
    when = '[.status.conditions[]? | select(.type == "Ready" and .status == "True")] | length == 0'
    return _stage("node-ready", "Node", when, [_status(_NODE_READY)])


def pod_run() -> Manifest:
    """A pod that does not run, or whose readiness is not the wanted one, runs; Ready unless `ready: "false"`."""
    wanted = f'({_annotation("ready")} != "false")'
    as_wanted = "(.status.containerStatuses[0] | .state.running != null and .ready == $ready)"
    when = f"{_LIVE} and {_annotation('waiting-reason')} == null and ({wanted} as $ready | {as_wanted} | not)"
    return _stage("pod-run", "Pod", when, [_status(_POD_RUN)], delay=f'{_annotation("start-delay")} // "0s"')


def pod_waiting() -> Manifest:
    """`waiting-reason` holds the containers back: ImagePullBackOff, CreateContainerConfigError, CrashLoopBackOff ..."""
    shown = ".status.containerStatuses[0].state.waiting.reason"
    when = f"{_LIVE} and {_annotation('waiting-reason')} != null and {_annotation('waiting-reason')} != {shown}"
    return _stage("pod-waiting", "Pod", when, [_status(_POD_WAITING)])


def pod_complete(download: FakeDownload) -> Manifest:
    """A running pod of a Job, or one that says `exit-code` and never restarts, ends."""
    label, value = DOWNLOAD_LABEL
    is_download = f".metadata.labels[{json.dumps(label)}] == {json.dumps(value)}"
    of_job = 'any(.metadata.ownerReferences[]?; .kind == "Job")'
    ends = f'({of_job} or ({_annotation("exit-code")} != null and .spec.restartPolicy == "Never"))'
    when = (
        f"{_LIVE} and {_annotation('waiting-reason')} == null and {ends}"
        " and .status.containerStatuses[0].state.running != null"
    )
    delay = f'{_annotation("run-for")} // (if {is_download} then "{download.seconds:g}s" else "0s" end)'
    # A Go template takes JSON's string syntax for a constant as it is.
    constants = (
        f'{{{{ $download := eq (default "" (index (default dict .metadata.labels) "{label}")) "{value}" }}}}\n'
        f'{{{{ $code := ternary "{download.exit_code}" "0" $download }}}}\n'
        f'{{{{ $message := ternary {json.dumps(download.message, ensure_ascii=False)} "" $download }}}}\n'
    )
    return _stage("pod-complete", "Pod", when, [_status(constants + _POD_COMPLETE)], delay=delay)


def pod_delete() -> Manifest:
    """A deleted pod goes at once, or after `delete-delay`."""
    when = ".metadata.deletionTimestamp != null"
    return _stage("pod-delete", "Pod", when, [{"delete": True}], delay=f'{_annotation("delete-delay")} // "0s"')


def claim_grow() -> Manifest:
    """Plays the external resizer: a bound claim of a `simulated…` class that asks for more gets it."""
    when = (
        '.status.phase == "Bound" and (.spec.storageClassName // "" | startswith("simulated"))'
        " and .spec.resources.requests.storage != .status.capacity.storage"
    )
    patch = {"subresource": "status", "root": "status", "type": "merge", "template": _GROWN_CLAIM}
    return _stage("claim-grow", "PersistentVolumeClaim", when, [{"patch": patch}])


_LIVE = '.metadata.deletionTimestamp == null and (.status.phase | . != "Succeeded" and . != "Failed")'


def _annotation(name: str) -> str:
    """jq for the value of one of our annotations, null when it is absent."""
    return f'.metadata.annotations["{PREFIX}{name}"]'


def _stage(name: str, kind: str, when: str, steps: list[Manifest], delay: str | None = None) -> Manifest:
    """A Stage that takes its steps when the jq expression `when` is true, `delay` (jq for a duration) later."""
    spec: Manifest = {
        "resourceRef": {"apiGroup": "v1", "kind": kind},
        "selector": {"matchExpressions": [{"jq": {"key": when, "operator": "In", "values": ["true"]}}]},
        "steps": steps,
    }
    if delay is not None:
        spec["delay"] = {"durationFrom": {"jq": {"expression": delay}}}
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}


def _status(template: str) -> Manifest:
    return {"patch": {"subresource": "status", "root": "status", "template": template}}


_NODE_READY = """\
{{ $now := Now }}
phase: Running
conditions:
{{ range NodeConditions }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ $now | Quote }}
{{ end }}
addresses:
- {type: InternalIP, address: {{ NodeIP | Quote }}}
- {type: Hostname, address: {{ .metadata.name | Quote }}}
daemonEndpoints: {kubeletEndpoint: {Port: {{ NodePort }}}}
nodeInfo:
  architecture: amd64
  operatingSystem: linux
  kubeletVersion: kwok-{{ Version }}
  containerRuntimeVersion: kwok-{{ Version }}
  kubeProxyVersion: kwok-{{ Version }}
  kernelVersion: simulated
  osImage: simulated
  bootID: simulated
  machineID: simulated
  systemUUID: simulated
"""

# Shared by the pod templates: $a are the pod's annotations, $statuses its last container statuses.
_POD_HEAD = """\
{{ $now := Now }}
{{ $a := default dict .metadata.annotations }}
{{ $statuses := default list .status.containerStatuses }}
startTime: {{ default $now .status.startTime | Quote }}
{{ with NodeIPsWith .spec.nodeName }}
hostIP: {{ index . 0 | Quote }}
hostIPs:
{{ range . }}
- ip: {{ . | Quote }}
{{ end }}
{{ end }}
"""

_POD_RUN = (
    _POD_HEAD
    + """\
{{ $ready := ne (default "true" (index $a "PREFIXready")) "false" }}
phase: Running
conditions:
{{ range list "Initialized" "PodReadyToStartContainers" }}
- {type: {{ . }}, status: "True", lastTransitionTime: {{ $now | Quote }}}
{{ end }}
{{ range list "ContainersReady" "Ready" }}
- type: {{ . }}
  lastTransitionTime: {{ $now | Quote }}
  {{ if $ready }}
  status: "True"
  reason: null
  message: null
  {{ else }}
  status: "False"
  reason: ContainersNotReady
  {{ end }}
{{ end }}
{{ range .spec.readinessGates }}
- {type: {{ .conditionType | Quote }}, status: "True", lastTransitionTime: {{ $now | Quote }}}
{{ end }}
{{ with .spec.initContainers }}
initContainerStatuses:
{{ range . }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: true
  restartCount: 0
  {{ if eq (default "" .restartPolicy) "Always" }}
  started: true
  state: {running: {startedAt: {{ $now | Quote }}}}
  {{ else }}
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}
  {{ end }}
{{ end }}
{{ end }}
containerStatuses:
{{ range $i, $c := .spec.containers }}
- name: {{ $c.name | Quote }}
  image: {{ $c.image | Quote }}
  imageID: ""
  ready: {{ $ready }}
  started: true
  restartCount: {{ if lt $i (len $statuses) }}{{ (index $statuses $i).restartCount }}{{ else }}0{{ end }}
  state: {waiting: null, terminated: null, running: {startedAt: {{ $now | Quote }}}}
{{ end }}
{{ if not .status.podIP }}
{{ with PodIPsWith .spec.nodeName (default false .spec.hostNetwork) .metadata.uid .metadata.name .metadata.namespace }}
podIP: {{ index . 0 | Quote }}
podIPs:
{{ range . }}
- ip: {{ . | Quote }}
{{ end }}
{{ end }}
{{ end }}
"""
).replace("PREFIX", PREFIX)

_POD_WAITING = (
    _POD_HEAD
    + """\
{{ $reason := index $a "PREFIXwaiting-reason" }}
{{ $crashed := eq $reason "CrashLoopBackOff" }}
phase: {{ if $crashed }}Running{{ else }}Pending{{ end }}
conditions:
{{ range list "ContainersReady" "Ready" }}
- {type: {{ . }}, status: "False", reason: ContainersNotReady, lastTransitionTime: {{ $now | Quote }}}
{{ end }}
containerStatuses:
{{ range $i, $c := .spec.containers }}
- name: {{ $c.name | Quote }}
  image: {{ $c.image | Quote }}
  imageID: ""
  ready: false
  started: false
  restartCount: {{ default (ternary "3" "0" $crashed) (index $a "PREFIXrestarts") }}
  state:
    running: null
    terminated: null
    waiting: {reason: {{ $reason | Quote }}, message: {{ default "" (index $a "PREFIXwaiting-message") | Quote }}}
  {{ if $crashed }}
  lastState:
    terminated:
      exitCode: {{ default "1" (index $a "PREFIXexit-code") }}
      reason: {{ default "Error" (index $a "PREFIXterminated-reason") | Quote }}
      message: {{ default "" (index $a "PREFIXtermination-message") | Quote }}
      startedAt: {{ $now | Quote }}
      finishedAt: {{ $now | Quote }}
  {{ end }}
{{ end }}
"""
).replace("PREFIX", PREFIX)

_POD_COMPLETE = (
    _POD_HEAD
    + """\
{{ $code = default $code (index $a "PREFIXexit-code") }}
{{ $message = default $message (index $a "PREFIXtermination-message") }}
phase: {{ if eq $code "0" }}Succeeded{{ else }}Failed{{ end }}
conditions:
{{ range list "ContainersReady" "Ready" }}
- {type: {{ . }}, status: "False", reason: PodCompleted, lastTransitionTime: {{ $now | Quote }}}
{{ end }}
containerStatuses:
{{ range $i, $c := .spec.containers }}
- name: {{ $c.name | Quote }}
  image: {{ $c.image | Quote }}
  imageID: ""
  ready: false
  started: false
  restartCount: 0
  state:
    waiting: null
    running: null
    terminated:
      exitCode: {{ $code }}
      reason: {{ default (ternary "Completed" "Error" (eq $code "0")) (index $a "PREFIXterminated-reason") | Quote }}
      message: {{ $message | Quote }}
      startedAt: {{ (index $statuses $i).state.running.startedAt | Quote }}
      finishedAt: {{ $now | Quote }}
{{ end }}
"""
).replace("PREFIX", PREFIX)

_GROWN_CLAIM = """\
capacity: {storage: {{ .spec.resources.requests.storage | Quote }}}
"""
