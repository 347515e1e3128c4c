"""What public bug reports of Qwen3 on vLLM come to here: inputs in data/, one folder a case, numbered as found.

Each test says what a user may rightly expect of its case. Where a case needs a hub, a cluster or a pod, what decides it
is tested here, and the way there in tests/download and tests/cluster.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import yaml

from qwen3_download.errors import Failure
from qwen3_download.existing import _decides
from qwen3_download.facts import pick
from qwen3_download.listing import RemoteFile, select
from qwen3_download.local import take_token
from qwen3_download.structure import check_files, check_folder
from qwen3_download.volume import disk_failure
from qwen3_operator.api.model import Qwen3ModelSpec
from qwen3_operator.catalog import ModelFacts, lookup, resolve
from qwen3_operator.commands.read import BadInput, read_resources
from qwen3_operator.desired.download import Step, model_job
from qwen3_operator.engine.diagnosis import Cause, diagnose_create_failure, diagnose_log, diagnose_pod
from qwen3_operator.engine.node_gpus import NodeGpus
from qwen3_operator.plan import Plan, Weights, make_plan
from qwen3_operator.settings import Settings

DATA = Path(__file__).parent / "data"
H100 = NodeGpus("NVIDIA-H100-80GB-HBM3", 81559, 8)
RTX_4090 = NodeGpus("NVIDIA-GeForce-RTX-4090", 24564, 1)
L40S = NodeGpus("NVIDIA-L40S", 46068, 1)
L4 = NodeGpus("NVIDIA-L4", 23034, 1)
DOWNLOADED = {"template": {"thinks": "switchable", "byDefault": True, "tools": "json"}}


def folder(number: str) -> Path:
    (found,) = DATA.glob(f"{number}-*")
    return found


def facts_of(number: str, config: str, weights: float | None = None, **files: Any) -> ModelFacts:
    """Facts as the operator has them after a download: from the copy that the downloader made."""
    whole = json.loads((folder(number) / config).read_text())
    return ModelFacts.from_config(pick(whole), int(weights) if weights else None, files)


def plan(
    number: str,
    cr: str = "cr.yaml",
    facts: ModelFacts | None = None,
    node: NodeGpus | None = H100,
    settings: Settings | None = None,
) -> Plan:
    """The operator's plan for a file of a case; facts None: before the download."""
    (resource,) = read_resources(str(folder(number) / cr), "default").users
    nodes = [node] if node else []
    return make_plan(Weights("claim", "path", facts), resource.server, settings or Settings(), nodes)


def flag(it: Plan, name: str) -> str | None:
    """The value of a flag on the command line; None where it is not there."""
    words = it.command
    return words[words.index(name) + 1] if name in words else None


def value(it: Plan, field: str) -> str:
    return next(v.value for v in it.values if v.field == field)


def weights_gib(it: Plan) -> float:
    assert it.fit.report is not None and it.fit.report.memory is not None
    return it.fit.report.memory.weights_gib


def said(log: str) -> Cause:
    cause = diagnose_log(log)
    assert cause is not None
    return cause


# --- config.json


@pytest.mark.parametrize(
    ("cr", "config", "weights", "layers"),
    [
        ("cr.yaml", "config.json", 70e9, 48),
        ("asr-cr.yaml", "asr-config.json", 4.7e9, 28),
        ("float-cr.yaml", "float-config.json", 16.4e9, 36),
    ],
)
def test_01_nested_thinkers_and_numbers_with_a_point_are_read(
    cr: str, config: str, weights: float, layers: int
) -> None:
    facts = facts_of("01", config, weights)
    it = plan("01", cr, facts)
    assert facts.num_layers == layers and it.servable and it.fit.status == "True"


def test_02_awq_by_compressed_tensors_fits_a_24_gib_card() -> None:
    by_shape = plan("02", facts=facts_of("02", "config.json", 17.2e9), node=RTX_4090)
    assert by_shape.servable and 15 < weights_gib(by_shape) < 17.5
    tensors = {"model": {"I32": 14_300_000_000, "BF16": 2_900_000_000}}
    by_headers = plan("02", facts=facts_of("02", "config.json", 17.2e9, tensors=tensors), node=RTX_4090)
    assert by_headers.servable and weights_gib(by_headers) == pytest.approx(17.2e9 / 2**30, abs=0.2)


@pytest.mark.parametrize(
    ("cr", "config", "weights", "node", "gib", "at_most"),
    [
        ("cr.yaml", "config.json", 134e9, H100, 134e9 / 2**30 / 4, ""),  # quantization only in hf_quant_config.json
        # Its weights fit; the states of linear attention of 1024 sequences, vLLM's default, do not beside them.
        ("cr-397b.yaml", "config-397b.json", 234e9, H100, 234e9 / 2**30 / 4, "maxNumSeqs up to 6"),
        ("cr-static.yaml", "config-static.json", 34e9, L40S, 34e9 / 2**30, ""),
    ],
)
def test_03_known_bytes_beat_a_format_nobody_knows(
    cr: str, config: str, weights: float, node: NodeGpus, gib: float, at_most: str
) -> None:
    it = plan("03", cr, facts_of("03", config, weights), node)
    assert weights_gib(it) == pytest.approx(gib, rel=0.06)
    assert it.servable is not bool(at_most)
    assert at_most in it.fit.message


def test_03_modelopts_own_file_says_it_too() -> None:
    beside = {"quantization": {"quant_algo": "NVFP4", "group_size": 16}}
    facts = facts_of("03", "config.json", None, quantization=beside)
    assert facts.quantization is not None and facts.quantization.label == "modelopt 4-bit"
    assert 1 < weights_gib(plan("03", facts=facts)) / (134e9 / 2**30 / 4) < 1.2, "a derivation, on the safe side"


@pytest.mark.parametrize("model_id", (folder("05") / "ids.txt").read_text().split())
def test_05_quantized_copies_are_served_as_their_original(model_id: str) -> None:
    row = resolve(model_id)
    assert row is not None
    thinking = {"Thinking": "thinking", "Instruct": "none", "Coder": "none"}
    wanted = next((mode for word, mode in thinking.items() if word in model_id), "hybrid")
    assert row.thinking == wanted and row.tool_call_parsers


def test_06_states_of_linear_attention_are_counted_and_the_remedy_has_the_number() -> None:
    it = plan("06")
    assert it.fit.status == "False" and "maxNumSeqs" in it.fit.message
    cause = said((folder("06") / "vllm.log").read_text())
    assert (cause.reason, cause.remedy) == ("TooManySequences", "set spec.engine.maxNumSeqs to 856 or less")


@pytest.mark.parametrize("cr", ["cr.yaml", "cr-vl.yaml"])
def test_07_lengths_that_the_cards_document_are_served_with_yarn(cr: str) -> None:
    it = plan("07", cr)
    overrides = json.loads(flag(it, "--hf-overrides") or "{}")
    rope = overrides["text_config"]["rope_parameters"]
    assert not it.problems and flag(it, "--max-model-len") == "1000000"
    assert (rope["rope_type"], rope["factor"], rope["original_max_position_embeddings"]) == ("yarn", 4.0, 262144)
    assert overrides["text_config"]["max_position_embeddings"] >= 1000000


def test_07_who_says_how_gets_any_length() -> None:
    it = plan("07", "cr-own-overrides.yaml")
    assert not it.problems and flag(it, "--max-model-len") == "1000000"
    assert it.command.count("--hf-overrides") == 1


@pytest.mark.parametrize("cr", ["cr.yaml", "cr-2b.yaml"])
def test_09_a_model_that_does_not_think_by_default_is_reported_so(cr: str) -> None:
    it = plan("09", cr, node=L4)
    assert flag(it, "--reasoning-parser") == "qwen3"
    assert flag(it, "--default-chat-template-kwargs") == '{"enable_thinking":false}'
    assert value(it, "thinking") == "Disabled"


# --- adapters and odd repositories


def test_10_adapters_can_be_given_to_vllm() -> None:
    it = plan("10")
    assert not it.problems and "--enable-lora" in it.command
    assert flag(it, "--lora-modules") == "support=/adapters/support"


def test_10_adapters_are_a_field() -> None:
    it = plan("10", "cr-as-told.yaml")
    assert not it.problems and flag(it, "--max-lora-rank") == "16"


def listed(number: str, name: str) -> tuple[RemoteFile, ...]:
    return tuple(RemoteFile(path, 9, "0" * 64) for path in (folder(number) / name).read_text().split())


def test_11_an_adapter_is_refused_before_a_gpu_is_taken() -> None:
    with pytest.raises(Failure, match=r"adapter.*base_model_name_or_path"):
        select(listed("11", "listing.txt"), (), ())


def test_12_pointers_of_git_lfs_are_refused_by_name(tmp_path: Path) -> None:
    name = "model-00001-of-00002.safetensors"
    (tmp_path / name).write_bytes((folder("12") / name).read_bytes())
    with pytest.raises(Failure, match="Git LFS pointer"):
        check_files([name], lambda it: tmp_path / it)


def test_14_only_the_model_at_the_root_counts() -> None:
    chosen = select(listed("14", "listing-root.txt"), (), ())
    assert [f.path for f in chosen if f.is_weights] == ["model.safetensors"]
    assert not [f.path for f in chosen if "checkpoint" in f.path]
    once = facts_of("14", "config.json", 49.2e9, tensors={"model": {"BF16": 16_381_470_720}})
    assert weights_gib(plan("14", facts=once, node=L40S)) == pytest.approx(15.27, abs=0.05)


def test_14_nested_models_alone_are_refused_with_their_folders() -> None:
    with pytest.raises(Failure, match=r"checkpoint-1000, checkpoint-500.*existingClaim"):
        select(listed("14", "listing-nested.txt"), (), ())


def test_15_what_decides_is_compared_and_the_rest_is_the_owners(tmp_path: Path) -> None:
    assert all(_decides(name) for name in ("model.safetensors", "tokenizer.json", "model.safetensors.index.json"))
    assert not any(_decides(name) for name in (".gitattributes", "README.md", "configuration.json", "config.json"))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK")
    assert "pytorch_model.bin" in check_folder(tmp_path), "what a download accepts"


def test_16_a_token_ends_before_its_line_break() -> None:
    secret = next(yaml.safe_load_all((folder("16") / "secret.yaml").read_text()))
    assert take_token({"MODELSCOPE_API_TOKEN": secret["stringData"]["token"]}) == "s3cret-example"


def test_17_a_volume_that_may_not_be_written_is_not_full() -> None:
    failure = disk_failure(PermissionError(13, "Permission denied"), Path("/models/.lock"))
    assert failure.reason == "VolumeNotWritable" and "fsGroup" in str(failure)


def test_23_what_the_api_server_refuses_is_refused_offline() -> None:
    with pytest.raises(BadInput, match="the name becomes a Service's"):
        read_resources(str(folder("23") / "cr.yaml"), "default")
    with pytest.raises(BadInput) as reported:
        read_resources(str(folder("23") / "cr-many.yaml"), "default")
    words = ("OWNER/NAME", "URL of the hub", "relative, and without '..'", "existingClaim excludes size", "at most 2.0")
    assert [word for word in words if word not in str(reported.value)] == []


def test_24_mlx_is_said_before_a_gpu_is_taken() -> None:
    it = plan("24", facts=facts_of("24", "config.json", 4.6e9), node=RTX_4090)
    (problem,) = it.problems
    assert problem.reason == "ModelNotServed" and "MLX" in problem.message
    cause = said((folder("24") / "vllm.log").read_text())
    assert cause.reason == "QuantizationNotSupported" and "MLX" in cause.remedy


@pytest.mark.parametrize("names", [("Qwen3-8B-Q4_K_M.gguf",), ("config.json", "Qwen3-8B-Q4_K_M.gguf")])
def test_32_a_gguf_repository_is_called_one(names: tuple[str, ...]) -> None:
    with pytest.raises(Failure, match="this is a GGUF repository"):
        select(tuple(RemoteFile(name, 9, "0" * 64) for name in names), (), ())


def test_38_links_into_a_cache_are_a_folder_like_any_other(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "snapshots" / "abc", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "1").write_text("{}")
    (blobs / "2").write_bytes(struct.pack("<Q", 2) + b"{}")
    for name, blob in (("config.json", "1"), ("model.safetensors", "2")):
        (snapshot / name).symlink_to(Path("../../blobs") / blob)
    assert check_folder(snapshot) == ["config.json", "model.safetensors"]


# --- the cluster


def test_18_the_address_can_be_said_for_one_and_for_all() -> None:
    assert flag(plan("18"), "--host") == "0.0.0.0"
    assert flag(plan("18", settings=Settings(engine_host="::")), "--host") == "::"
    (problem,) = plan("18", "cr-host.yaml").problems
    assert "spec.engine.host" in problem.message


def job(settings: Settings, **fields: Any) -> dict[str, Any]:
    """Pod template of the download Job of Qwen3-8B."""
    spec = Qwen3ModelSpec.model_validate({"id": "Qwen/Qwen3-8B"} | fields)
    template: dict[str, Any] = model_job("ns", "m", "uid", spec, settings, Step.DOWNLOAD)["spec"]["template"]
    return template


def test_19_ids_are_left_to_the_platform_or_said() -> None:
    security = job(Settings(pod_ids="platform"))["spec"]["securityContext"]
    assert security["runAsNonRoot"] and not {"runAsUser", "runAsGroup", "fsGroup"} & set(security)
    named = job(Settings(), download={"pod": {"runAsUser": 1000840000, "fsGroup": 1000840000}})
    assert named["spec"]["securityContext"]["runAsUser"] == 1000840000
    cause = diagnose_create_failure((folder("19") / "refusal.txt").read_text())
    assert cause.reason == "PodSecurityViolation" and "settings.podIds platform" in cause.remedy


def test_20_the_jobs_resources_can_be_said_and_a_quota_is_one() -> None:
    template = job(Settings(), download={"pod": {"resources": {"limits": {"cpu": "2"}}}})
    assert template["spec"]["containers"][0]["resources"]["limits"] == {"memory": "1Gi", "cpu": "2"}
    cause = diagnose_create_failure((folder("20") / "refusal.txt").read_text())
    assert cause.reason == "QuotaExceeded" and "limits.cpu" in cause.message
    assert "download.pod.resources" in cause.remedy


@pytest.mark.parametrize("cr", ["cr-lmcache.yaml", "cr-llm-d.yaml", "cr-ngc.yaml"])
def test_21_a_tag_of_another_product_is_no_version(cr: str) -> None:
    it = plan("21", cr)
    assert not it.problems and str(it.version) == "0.33.0"
    assert [w.reason for w in it.warnings if "spec.engine.version" in w.message] == ["EngineVersionUnknown"]


def test_21_the_operators_image_by_digest_has_a_version_in_the_settings() -> None:
    settings = Settings(engine_image=f"registry.example/vllm@sha256:{'0' * 64}", engine_version="0.26.0")
    it = plan("18", settings=settings)
    assert str(it.version) == "0.26.0" and not it.warnings


def test_22_the_user_may_say_what_a_model_is_for() -> None:
    facts = facts_of("22", "config.json", 1.2e9)
    (problem,) = plan("22", facts=facts, node=L4).problems[:1]
    assert "spec.engine.task" in problem.message
    (resource,) = read_resources(str(folder("22") / "cr-plain.yaml"), "default").users
    server = resource.server.model_copy(update={"engine": resource.server.engine.model_copy(update={"task": "embed"})})
    it = make_plan(Weights("claim", "path", facts), server, Settings(), [L4])
    assert flag(it, "--runner") == "pooling" and value(it, "task") == "embed"


def test_22_the_repository_may_say_it_as_well() -> None:
    facts = facts_of("22", "config.json", 1.2e9, modules=["Transformer", "Pooling", "Normalize"])
    assert flag(plan("22", "cr-plain.yaml", facts, L4), "--runner") == "pooling"


def test_28_shares_of_a_gpu_are_no_gpus_of_their_own() -> None:
    shared = NodeGpus("NVIDIA-L4-SHARED", 23034, 4, 4, "time-slicing")
    known = lookup("Qwen/Qwen3-8B")
    assert known is not None
    reported = plan("28", facts=known.facts, node=shared)
    assert reported.problems or reported.warnings or reported.fit.status != "True"


def test_29_remedies_are_ways_that_fit() -> None:
    for cr in ("cr.yaml", "cr-tight.yaml"):
        message = plan("29", cr, node=NodeGpus("NVIDIA-GeForce-RTX-4090", 24564, 4)).fit.message
        assert "gpuMemoryUtilizationPercent 89" not in message and "680384" not in message


def test_36_the_jobs_pods_take_annotations_and_labels() -> None:
    said_ = {"annotations": {"sidecar.istio.io/inject": "false"}, "labels": {"sidecar.istio.io/inject": "false"}}
    meta = job(Settings(), download={"pod": said_})["metadata"]
    assert meta["annotations"] == said_["annotations"]
    assert meta["labels"].items() >= said_["labels"].items() and len(meta["labels"]) > 1
    assert "annotations" not in job(Settings())["metadata"], "an upgrade makes no Job anew"


# --- diagnosis


def test_25_an_assertion_without_a_word_is_understood() -> None:
    log = (folder("25") / "vllm.log").read_text()
    terminated = {"exitCode": 1, "reason": "Error"}
    status = {"containerStatuses": [{"name": "vllm", "state": {"terminated": terminated}, "ready": False}]}
    cause = diagnose_pod({"status": status}, log)
    assert cause is not None
    assert cause.reason == "TooManySequences" and "num_cache_lines >= batch" in cause.message


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vllm.log", "ArchitectureNotSupported"),
        ("vllm-2.log", "ArchitectureNotSupported"),
        ("vllm-3.log", "KernelImageMissing"),
    ],
)
def test_27_files_of_a_newer_transformers_want_a_newer_image(name: str, reason: str) -> None:
    cause = said((folder("27") / name).read_text())
    assert cause.reason == reason and "image" in cause.remedy


def test_every_case_has_a_test() -> None:
    numbers = {path.name[:2] for path in DATA.iterdir()}
    tested = {name[5:7] for name in globals() if name.startswith("test_") and name[5:7].isdigit()}
    assert numbers == tested
