"""From what pods, logs and the scheduler say to a cause. Logs stand in data/logs, other texts in data/texts.yaml."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from qwen3_operator.api.reasons import Reason
from qwen3_operator.engine.diagnosis import Cause, diagnose_create_failure, diagnose_log, diagnose_pod
from qwen3_operator.engine.diagnosis.patterns import first_cause, patterns

DATA = Path(__file__).parent / "data"
TEXTS: dict[str, list[dict[str, str]]] = yaml.safe_load((DATA / "texts.yaml").read_text(encoding="utf-8"))
SECTIONS = ("log", "scheduling", "volume", "claim", "image", "container", "event", "create")
ALL_TEXTS = [
    pytest.param(section, row["reason"], row["text"], id=f"{section}-{row['reason']}-{number}")
    for section in SECTIONS
    for number, row in enumerate(TEXTS[section])
]


@pytest.mark.parametrize(("section", "reason", "text"), ALL_TEXTS)
def test_texts(section: str, reason: str, text: str) -> None:
    cause = first_cause(section, text, {"image": "vllm/vllm-openai:v9", "container": "vllm", "count": "3 nodes"})
    assert cause is not None
    assert cause.reason == reason
    assert cause.message
    assert cause.remedy
    assert "{" not in str(cause), "a place was left unfilled"


@pytest.mark.parametrize("section", SECTIONS)
def test_every_pattern_has_a_text_that_only_it_explains_first(section: str) -> None:
    reached = {
        next(number for number, pattern in enumerate(patterns(section)) if pattern.match.search(row["text"]))
        for row in TEXTS[section]
    }
    assert reached == set(range(len(patterns(section))))


@pytest.mark.parametrize("section", SECTIONS)
def test_every_text_says_where_it_comes_from(section: str) -> None:
    assert all(row["seen"].startswith(("run: ", "source: ")) for row in TEXTS[section])
    assert all(pattern.seen for pattern in patterns(section))


# What vLLM 0.32.0 (CPU build) wrote for a tiny Qwen3 with one thing wrong; source lines of tracebacks are left out.
REAL_LOGS = {
    "ambiguous": ("InvalidArgumentValue", "--max-num could match"),
    "bad-choice": ("InvalidArgumentValue", "argument --kv-cache-dtype: invalid choice: 'int8'"),
    "bad-dtype": ("InvalidArgumentValue", "argument --dtype: invalid choice: 'bf16'"),
    "cut-weights": ("ModelFilesDamaged", "incomplete metadata, file not fully covered"),
    "empty-folder": ("ModelFilesMissing", "/models/qwen3-8b holds no config.json"),
    "ep-dense": ("ExpertParallelOnDenseModel", "the model has no experts"),
    "hub-id": ("PodIsOffline", "offline by design"),
    "illegal-tp": ("IllegalTensorParallelSize", "4 attention heads cannot be split over 3 GPUs"),
    "kv-too-small": ("KvCacheTooSmall", "set spec.engine.maxModelLen to 16256 or less"),
    "missing-path": ("ModelFilesMissing", "there is nothing at /models/qwen3-8b"),
    "negative-length": ("InvalidArgumentValue", "max_model_len: Input should be greater than or equal to -1"),
    "no-weights": ("ModelFilesMissing", "/models/qwen3-8b holds no weights"),
    "port-taken": ("PortInUse", "port is taken"),
    "quantization": ("QuantizationMismatch", "remove spec.engine.quantization"),
    "service-link": ("ServiceLinkCollision", "VLLM_PORT=tcp://10.0.0.1:8000"),
    "too-long": ("MaxModelLenTooLong", "maxModelLen 65536 is beyond the 40960 positions"),
    "tool-choice-without-parser": ("InvalidArgumentValue", "set spec.engine.toolCallParser"),
    "unknown-argument": ("UnknownArgument", "--enable-reasoning"),
    "unknown-reasoning-parser": ("UnknownReasoningParser", "qwen33"),
    "unknown-tool-parser": ("UnknownToolCallParser", "nope"),
    "utilization": ("InvalidArgumentValue", "Input should be less than or equal to 1"),
}


@pytest.mark.parametrize("name", REAL_LOGS)
def test_real_logs(name: str) -> None:
    cause = diagnose_log((DATA / "logs" / f"{name}.txt").read_text(encoding="utf-8"))
    assert cause is not None
    reason, says = REAL_LOGS[name]
    assert cause.reason == reason
    assert says in str(cause)


def test_every_real_log_is_used() -> None:
    assert {path.stem for path in (DATA / "logs").iterdir()} == set(REAL_LOGS)


def test_numbers_of_the_log_stand_in_the_words() -> None:
    cause = diagnose_log(next(row["text"] for row in TEXTS["log"] if row["reason"] == "KvCacheTooSmall"))
    assert cause == Cause(
        Reason.KV_CACHE_TOO_SMALL,
        "one sequence of 40960 tokens needs 10.0 GiB of KV cache, and 9.98 GiB are left beside the weights",
        "set spec.engine.maxModelLen to 40864 or less (vLLM's own estimate), or take more or larger GPUs",
    )


def test_an_unknown_error_is_quoted_without_its_echo() -> None:
    cause = diagnose_log(
        "(EngineCore pid=9) ERROR 11-23 01:02:03 [core.py:1] Traceback (most recent call last):\n"
        "(EngineCore pid=9) ERROR 11-23 01:02:03 [core.py:1] FrobnicationError: the frob is out of range\n"
        "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed: {}\n"
    )
    assert cause is not None
    assert cause.reason == "ServerFailed"
    assert cause.message == "the server failed: FrobnicationError: the frob is out of range"


def test_a_wrapped_error_is_unwrapped() -> None:
    cause = diagnose_log(
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig\n"
        "  Value error, something new is wrong [type=value_error, input_value=ArgsKwargs()]\n"
        "    For further information visit https://errors.pydantic.dev/2.12/v/value_error"
    )
    assert cause is not None
    assert cause.message == "the server failed: something new is wrong"


def test_a_bare_assertion_is_quoted_with_what_it_asserts() -> None:
    cause = diagnose_log(
        "(Worker_TP0 pid=300) ERROR 11-02 09:15:44 [multiproc_executor.py:700]     assert heads_of(rank) == 4\n"
        "(Worker_TP0 pid=300) ERROR 11-02 09:15:44 [multiproc_executor.py:700]            ^^^^^^^^^^^^^^^^^^^\n"
        "(Worker_TP0 pid=300) ERROR 11-02 09:15:44 [multiproc_executor.py:700] AssertionError\n"
    )
    assert cause is not None
    assert cause.message == "the server failed: AssertionError: assert heads_of(rank) == 4"


CUT_TOOL_CALL = (
    "(APIServer pid=1) ERROR 11-26 10:00:00 [hermes_tool_parser.py:117] Traceback (most recent call last):\n"
    "(APIServer pid=1) ERROR 11-26 10:00:00 [hermes_tool_parser.py:117] json.decoder.JSONDecodeError: Unterminated "
    "string starting at: line 1 column 10 (char 9)\n"
)
"""Logged for a request that is answered by 200 (shared/reference/gpu-vllm-033.md)."""


def test_what_the_engine_says_goes_before_what_a_request_met() -> None:
    engine = "(EngineCore_DP0 pid=121) ERROR 11-26 11:00:00 [core.py:1131] FrobnicationError: out of range\n"
    echo = "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.\n"
    assert cause_of(pod(**ended(1)), CUT_TOOL_CALL + engine + echo).message.endswith("FrobnicationError: out of range")
    assert cause_of(pod(**ended(137)), CUT_TOOL_CALL + engine).message.endswith("FrobnicationError: out of range")


def test_what_ends_a_process_goes_before_what_it_logged() -> None:
    fatal = "(APIServer pid=1) OSError: the end\n"
    assert cause_of(pod(**ended(1)), CUT_TOOL_CALL + fatal).message == "the server failed: OSError: the end"


def test_an_engine_that_died_says_of_what() -> None:
    log = (
        "(EngineCore_DP0 pid=9) ERROR 11-26 11:00:00 [core.py:1131] FrobnicationError: out of range\n"
        "(APIServer pid=1) ERROR 11-26 11:00:01 [async_llm.py:1] vllm.EngineDeadError: it encountered an issue\n"
    )
    cause = cause_of(pod(**ended(0, "Completed")), log)
    assert (cause.reason, "FrobnicationError: out of range" in cause.message) == ("EngineDied", True)


@pytest.mark.parametrize(("code", "reason"), [(134, "Aborted"), (137, "Killed"), (139, "SegmentationFault")])
def test_a_signal_goes_before_a_guess(code: int, reason: str) -> None:
    assert cause_of(pod(**ended(code)), CUT_TOOL_CALL).reason == reason


def test_a_guess_is_better_than_nothing() -> None:
    assert "JSONDecodeError" in cause_of(pod(**ended(1)), CUT_TOOL_CALL).message


def test_a_log_without_errors_says_nothing() -> None:
    assert diagnose_log("INFO 11-23 01:02:03 [core.py:1] all is well") is None


def test_a_clean_end_is_no_crash() -> None:
    """After SIGTERM vLLM's log holds EngineDeadError although nothing died."""
    log = "ERROR AsyncLLM output_handler failed.\nEngineDeadError: EngineCore encountered an issue."
    assert diagnose_log(log) is None


# --- pods


def pod(*, status: Mapping[str, Any] | None = None, gpus: int = 1, **container: Any) -> dict[str, Any]:
    """A server's pod with one container in the given state."""
    statuses = [{"name": "vllm", "image": "vllm/vllm-openai:v9", "ready": False, "restartCount": 0, **container}]
    return {
        "spec": {"containers": [{"name": "vllm", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}]},
        "status": {"phase": "Pending", **({"containerStatuses": statuses} if container else {}), **(status or {})},
    }


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}}


def ended(exit_code: int, reason: str = "Error", message: str = "", **more: Any) -> dict[str, Any]:
    terminated = {"exitCode": exit_code, "reason": reason, "message": message}
    return {**waiting("CrashLoopBackOff"), "lastState": {"terminated": terminated}, "restartCount": 1, **more}


def unscheduled(message: str, reason: str = "Unschedulable") -> dict[str, Any]:
    return {"conditions": [{"type": "PodScheduled", "status": "False", "reason": reason, "message": message}]}


def cause_of(*args: Any, **kwargs: Any) -> Cause:
    cause = diagnose_pod(*args, **kwargs)
    assert cause is not None
    return cause


@pytest.mark.parametrize(
    "healthy",
    [
        {"status": {"phase": "Pending"}},
        pod(status={"phase": "Running"}, ready=True, started=True, state={"running": {}}),
        pod(status={"phase": "Running"}, started=False, state={"running": {}}),
        pod(**waiting("ContainerCreating")),
        pod(**waiting("PodInitializing")),
        {},
    ],
)
def test_nothing_is_wrong(healthy: dict[str, Any]) -> None:
    assert diagnose_pod(healthy) is None


def test_the_scheduler_s_reasons_are_listed_and_the_gpu_comes_first() -> None:
    message = (  # kube-scheduler 1.36.3
        "0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) had untolerated taint(s), "
        "1 node(s) were unschedulable. no new claims to deallocate, preemption: 0/3 nodes are available: "
        "3 Preemption is not helpful for scheduling."
    )
    cause = cause_of(pod(status=unscheduled(message)))
    assert cause.reason == "InsufficientGpu"
    assert cause.message == (
        "no node takes the pod: 1 node with too few free nvidia.com/gpu; "
        "1 node with a taint the pod does not tolerate; 1 node cordoned"
    )


def test_older_schedulers_name_the_taint() -> None:
    message = (
        "0/1 nodes are available: 1 node(s) had untolerated taint {nvidia.com/gpu: present}. preemption: 0/1 nodes"
    )
    assert cause_of(pod(status=unscheduled(message))).message.endswith("does not tolerate nvidia.com/gpu: present")


def test_how_many_nodes_have_how_many_gpus() -> None:
    message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: not eligible"
    nodes = {"a": 4, "b": 4, "c": 8}
    free = cause_of(pod(gpus=4, status=unscheduled(message)), gpus_by_node=nodes)
    assert free.message.startswith("the pod needs 4 free GPUs on one node (1 node with 8, 2 nodes with 4)")
    never = cause_of(pod(gpus=16, status=unscheduled(message)), gpus_by_node=nodes)
    assert never.message == "the pod needs 16 GPUs on one node, and no node has so many (1 node with 8, 2 nodes with 4)"
    assert "at most 8" in never.remedy
    none = cause_of(pod(status=unscheduled(message)), gpus_by_node={})
    assert "no node has a GPU" in none.message
    assert none.remedy == "add a GPU node"


@pytest.mark.parametrize("resource", ["nvidia.com/gpu", "nvidia.com/mig-1g.10gb", "amd.com/gpu"])
def test_other_devices_are_no_gpus(resource: str) -> None:
    asking = pod(status=unscheduled(f"0/1 nodes are available: 1 Insufficient {resource}. preemption: not eligible"))
    asking["spec"]["containers"][0]["resources"]["limits"] = {resource: "2", "rdma/hca_shared_devices_a": "8"}
    assert cause_of(asking, gpus_by_node={"a": 1}).message.startswith("the pod needs 2 GPUs on one node, and no node")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            "0/1 nodes are available: 1 node(s) had untolerated taint(s). no new claims to deallocate",
            "UntoleratedTaint",
        ),
        ("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.", "NodeSelectorMismatch"),
        ("0/3 nodes are available: 3 Insufficient cpu, 3 Insufficient memory. no new", "InsufficientHostResources"),
        ("0/2 nodes are available: 1 Insufficient memory, 1 Too many pods.", "InsufficientHostResources"),
        ('persistentvolumeclaim "weights" not found', "VolumeClaimMissing"),
        ("0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.", "VolumeClaimUnbound"),
        ("0/2 nodes are available: 2 node(s) had volume node affinity conflict.", "VolumeOnOtherNode"),
        ("0/2 nodes are available: 2 frobnicated.", "Unschedulable"),
        ("no nodes available to schedule pods", "Unschedulable"),
    ],
)
def test_scheduling(message: str, reason: str) -> None:
    cause = cause_of(pod(status=unscheduled(message)))
    assert cause.reason == reason
    assert cause.message


def test_a_gate_is_not_a_lack_of_room() -> None:
    assert cause_of(pod(status=unscheduled("gated", "SchedulingGated"))).reason == "SchedulingGated"


def test_a_scheduler_that_failed_tries_again() -> None:
    """Who else writes a claim while it is bound makes the scheduler fail once: nobody has to act."""
    words = 'running PreBind plugin "VolumeBinding": Operation cannot be fulfilled on persistentvolumeclaims "weights"'
    cause = cause_of(pod(status=unscheduled(words, "SchedulerError")))
    assert cause.reason is Reason.SCHEDULER_ERROR and not cause.reason.needs_person
    assert words in cause.message


@pytest.mark.parametrize(
    ("reason", "message", "cause"),
    [
        ("ErrImagePull", "docker.io/vllm/vllm-openai:v9: not found", "ImageNotFound"),
        (
            "ErrImagePull",
            "pull access denied, repository does not exist or may require authorization",
            "ImagePullUnauthorized",
        ),
        ("ErrImagePull", "429 Too Many Requests - toomanyrequests", "ImagePullRateLimited"),
        ("ErrImagePull", "dial tcp: lookup registry.example: no such host", "RegistryUnreachable"),
        ("ErrImagePull", "something new", "ImagePullFailed"),
        ("ImagePullBackOff", 'Back-off pulling image "vllm/vllm-openai:v9"', "ImagePullFailed"),
        ("InvalidImageName", "", "InvalidImageName"),
        ("ErrImageNeverPull", "", "ErrImageNeverPull"),
        ("CreateContainerConfigError", 'secret "api-key" not found', "SecretNotFound"),
        ("CreateContainerConfigError", 'configmap "template" not found', "ConfigMapNotFound"),
        ("CreateContainerError", "something new", "CreateContainerError"),
    ],
)
def test_containers_that_never_start(reason: str, message: str, cause: str) -> None:
    found = cause_of(pod(**waiting(reason, message)))
    assert found.reason == cause
    if "Image" in cause:
        assert "vllm/vllm-openai:v9" in found.message


def test_the_events_say_what_a_back_off_hides() -> None:
    events = [
        'Failed to pull image "vllm/vllm-openai:v9": docker.io/vllm/vllm-openai:v9: not found',
        "Error: ImagePullBackOff",
    ]
    assert (
        cause_of(pod(**waiting("ImagePullBackOff", "Back-off pulling image")), events=events).reason == "ImageNotFound"
    )


@pytest.mark.parametrize(
    ("container", "log", "reason"),
    [
        (ended(137, "OOMKilled"), None, "OutOfHostMemory"),
        (ended(2), "vllm: error: unrecognized arguments: --nope", "UnknownArgument"),
        (ended(1, message="CUDA out of memory"), None, "CudaOutOfMemory"),
        (ended(1), "INFO nothing", "ServerFailed"),
        (ended(1), None, "ServerFailed"),
        (ended(139), None, "SegmentationFault"),
        (ended(137), None, "Killed"),
        (ended(134), None, "Aborted"),
        (ended(0, "Completed"), None, "EngineDied"),
        (ended(128, "StartError", 'exec: "vllm": executable file not found in $PATH'), None, "CommandNotInImage"),
        ({"state": {"terminated": {"exitCode": 1, "reason": "Error"}}}, None, "ServerFailed"),
        ({**ended(137, "OOMKilled"), "state": {"running": {}}, "started": False}, None, "OutOfHostMemory"),
    ],
)
def test_containers_that_ended(container: dict[str, Any], log: str | None, reason: str) -> None:
    assert cause_of(pod(**container), log).reason == reason


# What kubelet 1.36.3 and containerd said about pods with one thing wrong (container status and events).
REAL_PODS = {
    "badname": "InvalidImageName",
    "command": "CommandNotInImage",
    "configmap": "ConfigMapNotFound",
    "exit2": "ServerFailed",
    "image": "RegistryUnreachable",
    "key": "SecretKeyNotFound",
    "mount": "SecretNotFound",
    "oom": "OutOfHostMemory",
    "root": "ImageRunsAsRoot",
    "secret": "SecretNotFound",
    "startup": "StartupProbeFailed",
}


@pytest.mark.parametrize("name", REAL_PODS)
def test_real_pods(name: str) -> None:
    seen = json.loads((DATA / "pods.json").read_text(encoding="utf-8"))
    assert set(seen) == set(REAL_PODS)
    cause = cause_of(pod(**seen[name]["container"]), events=seen[name]["events"])
    assert cause.reason == REAL_PODS[name]
    assert cause.remedy


@pytest.mark.parametrize(
    ("name", "words"),
    [("secret", "Secret api-key does not exist"), ("key", "Secret has has no key token")],
)
def test_a_missing_secret_is_named_and_nothing_else_of_it(name: str, words: str) -> None:
    seen = json.loads((DATA / "pods.json").read_text(encoding="utf-8"))[name]
    assert cause_of(pod(**seen["container"]), events=seen["events"]).message == words


def test_a_restarted_server_that_is_up_again_is_fine() -> None:
    container: dict[str, Any] = {
        "ready": True,
        "started": True,
        "state": {"running": {}},
        "lastState": {"terminated": {"exitCode": 137}},
    }
    assert diagnose_pod(pod(**container)) is None


def test_a_finished_init_container_is_fine() -> None:
    done = {"name": "init", "ready": True, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    assert diagnose_pod(pod(status={"initContainerStatuses": [done]}, **waiting("PodInitializing"))) is None


def test_killed_by_its_probe_while_it_loads() -> None:
    events = ["Started container vllm", "Container vllm failed startup probe, will be restarted"]
    assert cause_of(pod(**ended(0, "Completed")), events=events).reason == "StartupProbeFailed"
    assert cause_of(pod(**ended(137)), events=events).reason == "StartupProbeFailed"


def test_the_log_says_more_than_the_probe() -> None:
    events = ["Container vllm failed startup probe, will be restarted"]
    assert cause_of(pod(**ended(1)), "CUDA out of memory", events).reason == "CudaOutOfMemory"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}, "Evicted"),
        ({"phase": "Failed", "reason": "NodeLost"}, "NodeLost"),
        ({"phase": "Unknown"}, "NodeLost"),
        ({"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "Allocate failed"}, "NodeRefusedPod"),
        (
            {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]},
            "Disrupted",
        ),
    ],
)
def test_pods_that_lost_their_node(status: dict[str, Any], reason: str) -> None:
    assert cause_of(pod(status=status)).reason == reason


def test_mounts_that_fail_are_known_from_events() -> None:
    events = ["Scheduled", 'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) x']
    assert cause_of(pod(**waiting("ContainerCreating")), events=events).reason == "VolumeInUse"


@pytest.mark.parametrize(
    ("limited", "pods", "reason"),
    [
        ("requests.nvidia.com/gpu=1", 1, "QuotaExceeded"),
        ("requests.nvidia.com/gpu=2", 1, "QuotaUsedUp"),
        ("requests.nvidia.com/gpu=4", 2, "QuotaUsedUp"),
        ("requests.nvidia.com/gpu=4", 3, "QuotaExceeded"),
        ("requests.nvidia.com/gpu=words", 1, "QuotaExceeded"),
        ("pods=9", 1, "QuotaExceeded"),  # not what was asked for
    ],
)
def test_a_quota_that_others_use_up_needs_no_person(limited: str, pods: int, reason: str) -> None:
    words = "exceeded quota: gpus, requested: requests.nvidia.com/gpu=2, used: requests.nvidia.com/gpu=1"
    assert diagnose_create_failure(f'pods "chat-1" is forbidden: {words}, limited: {limited}', pods).reason == reason


def test_pods_the_api_server_refuses() -> None:
    quota = diagnose_create_failure(TEXTS["create"][0]["text"])
    assert quota.message == (
        "the namespace's quota gpus allows requests.nvidia.com/gpu=1, of which requests.nvidia.com/gpu=0 are used; "
        "requests.nvidia.com/gpu=2 more are needed"
    )
    assert quota.reason == "QuotaExceeded"
    refused = diagnose_create_failure('pods "weights-x2b7p" is forbidden: something new')
    assert (refused.reason, refused.message) == ("PodRefused", "pods are forbidden: something new")


@pytest.mark.parametrize("text", [row["text"] for row in TEXTS["create"] if row["reason"] == "PodNotCreated"])
def test_an_api_server_that_fails_at_pods_is_asked_again(text: str) -> None:
    assert not diagnose_create_failure(text).reason.needs_person


@given(st.text(max_size=400), st.integers(0, 255))
def test_no_log_breaks_it(log: str, exit_code: int) -> None:
    cause = diagnose_pod(pod(**ended(exit_code)), log)
    assert cause is not None
    assert cause.message
