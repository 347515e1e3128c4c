"""spec + facts of the model + settings -> Plan: every value that the servers are made from, each with its reason.

Pure: the same input gives the same plan, in every process and after every restart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.catalog import CatalogEntry, ModelFacts, resolve
from qwen3_operator.desired.pod import MODELS
from qwen3_operator.engine.command import OWNED_FLAGS, ServeOptions, check_options, serve_command
from qwen3_operator.engine.compatibility import check_version
from qwen3_operator.engine.flags import check_extra_args
from qwen3_operator.engine.parsers import ParserChoice, choose_reasoning_parser, choose_tool_parser
from qwen3_operator.engine.problem import Problem
from qwen3_operator.engine.version import NEWEST_KNOWN, EngineVersion
from qwen3_operator.naming import claim_name, model_path
from qwen3_operator.settings import Settings

DRAIN_SECONDS = 30
STARTUP_SECONDS = 900
SLOWEST_READ = 50_000_000
GIB = 1 << 30
TEMPLATE_FILE = "/etc/qwen3/chat-template/template.jinja"


@dataclass(frozen=True)
class Value:
    """One resolved value: what, why, and who said so."""

    field: str
    value: str
    reason: str
    source: Literal["spec", "catalogue", "checkpoint", "settings", "operator"]

    def as_status(self) -> dict[str, str]:
        """As an entry of `status.plan`."""
        return {"field": self.field, "value": self.value[:1024], "reason": self.reason[:1024]}


@dataclass(frozen=True)
class Fit:
    """Verdict of the preflight, as the condition Fits. `blocks`: no server is made."""

    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    blocks: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run. Sizes are Kubernetes quantities, times seconds."""

    image: str
    version: EngineVersion
    claim: str
    command: tuple[str, ...]
    """argv of the server: `vllm serve PATH ...`."""
    max_model_len: int | None
    """None: vLLM takes the checkpoint's own."""
    gpus: int
    """GPUs of one server."""
    cpu: str
    memory: str
    shm_size: str
    startup_seconds: int
    drain_seconds: int
    fit: Fit
    values: tuple[Value, ...]
    problems: tuple[Problem, ...]
    """What cannot work: nothing is made while there is one."""
    warnings: tuple[Problem, ...]
    pod_annotations: dict[str, str] = field(default_factory=dict)

    @property
    def servable(self) -> bool:
        """Whether servers may be made from this plan."""
        return not self.problems and not self.fit.blocks

    def engine_status(self) -> dict[str, Any]:
        """`status.engine`."""
        status: dict[str, Any] = {"version": str(self.version), "image": self.image, "command": list(self.command)}
        return status | ({"maxModelLen": self.max_model_len} if self.max_model_len else {})


def make_plan(
    model: str,
    spec: Qwen3DeploymentSpec,
    settings: Settings,
    facts: ModelFacts | None = None,
    template_hash: str = "",
) -> Plan:
    """The plan for `spec`, served from the Qwen3Model called `model`.

    `facts`: from the downloaded config.json, None before; `template_hash`: of the chat template's text, so that a
    changed template makes new servers.
    """
    engine = spec.engine
    image, known_version, values = _image(spec, settings)
    version = known_version or NEWEST_KNOWN
    entry = resolve(spec.model.id, facts)
    found = list(check_version(known_version, image, entry))
    reasoning, tools = _parsers(spec, entry, version)
    for label, choice in (("reasoningParser", reasoning), ("toolCallParser", tools)):
        values.append(Value(label, choice.parser or "none", choice.reason, choice.source))
        found += choice.problems
    length, length_value = _length(spec, entry)
    values.append(length_value)
    names = engine.served_model_names or [spec.model.id.split("/")[-1]]
    why = "set in the spec" if engine.served_model_names else "last part of the model's id"
    values.append(Value("servedModelNames", " ".join(names), why, "spec" if engine.served_model_names else "operator"))
    options = ServeOptions(
        model_path="/".join(part for part in (MODELS, model_path(spec.model)) if part),
        served_model_names=names,
        task=entry.task if entry else "generate",
        max_model_len=length,
        reasoning_parser=reasoning.parser,
        tool_call_parser=tools.parser,
        tensor_parallel_size=engine.tensor_parallel_size,
        dtype=engine.dtype,
        gpu_memory_utilization_percent=engine.gpu_memory_utilization_percent,
        chat_template=TEMPLATE_FILE if engine.chat_template else None,
        hf_overrides=entry.hf_overrides if entry else {},
        shutdown_timeout_seconds=DRAIN_SECONDS,
        extra_args=engine.extra_args,
    )
    found += check_extra_args(engine.extra_args, version, OWNED_FLAGS)
    found += check_options(options, version)
    cpu, memory, shm, startup, resource_values = _resources(spec, entry)
    values += resource_values
    return Plan(
        image=image,
        version=version,
        claim=claim_name(model, spec.model),
        command=tuple(serve_command(options, version)),
        max_model_len=length,
        gpus=engine.tensor_parallel_size,
        cpu=cpu,
        memory=memory,
        shm_size=shm,
        startup_seconds=startup,
        drain_seconds=DRAIN_SECONDS,
        fit=Fit("Unknown", "NotChecked", "the GPU's memory is not known"),
        values=tuple(values),
        problems=tuple(p for p in found if p.severity == "error"),
        warnings=tuple(p for p in found if p.severity != "error"),
        pod_annotations={"serving.qwen3.dev/chat-template-hash": template_hash} if template_hash else {},
    )


def _image(spec: Qwen3DeploymentSpec, settings: Settings) -> tuple[str, EngineVersion | None, list[Value]]:
    engine = spec.engine
    image = engine.image or settings.engine_image
    in_spec = engine.image is not None
    where = Value(
        "image", image, "set in the spec" if in_spec else "the operator's setting", "spec" if in_spec else "settings"
    )
    if engine.version:
        return (
            image,
            EngineVersion.of(engine.version),
            [where, Value("version", engine.version, "set in the spec", "spec")],
        )
    version = EngineVersion.from_image(image)
    reason = "the image's tag" if version else f"the tag of {image} tells none: the newest known is assumed"
    return image, version, [where, Value("version", str(version or NEWEST_KNOWN), reason, "operator")]


def _parsers(
    spec: Qwen3DeploymentSpec, entry: CatalogEntry | None, version: EngineVersion
) -> tuple[ParserChoice, ParserChoice]:
    engine = spec.engine
    plugins = {word.split("=")[0].replace("_", "-") for word in engine.extra_args}
    if entry is not None:
        return (
            choose_reasoning_parser(
                engine.reasoning_parser, entry, version, has_plugin="--reasoning-parser-plugin" in plugins
            ),
            choose_tool_parser(engine.tool_call_parser, entry, version, has_plugin="--tool-parser-plugin" in plugins),
        )

    def before_download(requested: str) -> ParserChoice:
        if requested in ("auto", "none"):
            return ParserChoice(None, "decided when the checkpoint's config.json is known")
        return ParserChoice(requested, "set in the spec", "spec")

    return before_download(engine.reasoning_parser), before_download(engine.tool_call_parser)


def _length(spec: Qwen3DeploymentSpec, entry: CatalogEntry | None) -> tuple[int | None, Value]:
    if spec.engine.max_model_len is not None:
        length = spec.engine.max_model_len
        return length, Value("maxModelLen", str(length), "set in the spec", "spec")
    if entry is not None:
        return entry.native_length, Value(
            "maxModelLen", str(entry.native_length), "the model's own length", "catalogue"
        )
    return None, Value("maxModelLen", "auto", "vLLM takes the checkpoint's own length", "checkpoint")


def _resources(spec: Qwen3DeploymentSpec, entry: CatalogEntry | None) -> tuple[str, str, str, int, list[Value]]:
    """CPU, memory, /dev/shm and the seconds that a start may take."""
    gpus = spec.engine.tensor_parallel_size
    weights = math.ceil((entry.weights_bytes or 0) / GIB) if entry else 0
    memory, shm = f"{8 + math.ceil(weights / 4)}Gi", f"{1 + gpus}Gi"
    startup = STARTUP_SECONDS + weights * GIB // SLOWEST_READ
    return (
        str(2 + gpus),
        memory,
        shm,
        startup,
        [
            Value("memory", memory, "8Gi for the process and a quarter of the weights", "operator"),
            Value("startupSeconds", str(startup), "compilation, and the weights at 50 MB/s", "operator"),
        ],
    )
