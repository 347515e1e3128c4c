"""`--existing`: weights that are already on a volume, checked by the best witness and never changed."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hub.process import HubProcess
from tests.download.conftest import CONFIG, MIB, Setup

pytestmark = pytest.mark.download
Serve = Callable[..., HubProcess]
TINY = Path(__file__).parents[1] / "data" / "tiny-qwen3"
GONE = "http://127.0.0.1:9"


def snapshot(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture
def tiny(setup: Setup, serve: Serve) -> Setup:
    """The tiny checkpoint on the hub, and the same files, without a marker, on the volume."""
    shutil.copytree(TINY, setup.source)
    shutil.copytree(TINY, setup.target)
    serve()
    return setup


def test_the_hub_is_the_best_witness(tiny: Setup) -> None:
    before = snapshot(tiny.target.parent)
    result = tiny.run("--existing")
    assert (result.code, result.report["verifiedBy"]) == (0, "hub")
    assert result.report["config"]["num_hidden_layers"] == 2 and len(result.report["commit"]) == 40
    assert snapshot(tiny.target.parent) == before, "nothing is written"


def test_difference_from_the_hub(tiny: Setup) -> None:
    weights = tiny.target / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    (tiny.target / "generation_config.json").unlink()
    before = snapshot(tiny.target.parent)
    result = tiny.run("--existing")
    assert (result.code, result.report["reason"]) == (13, "IntegrityError")
    assert "1 of 6 files" in result.report["message"] and "model.safetensors" in result.report["message"]
    assert snapshot(tiny.target.parent) == before


def test_what_its_owner_wrote_into_it_is_his(tiny: Setup) -> None:
    """A folder from another hub has another README, and YaRN is written into config.json as the model cards advise."""
    config = json.loads((tiny.target / "config.json").read_text()) | {"max_position_embeddings": 131072}
    (tiny.target / "config.json").write_text(json.dumps(config))
    (tiny.target / "generation_config.json").unlink()
    with_hub, without = tiny.run("--existing"), tiny.run("--existing", "--endpoint", GONE)
    assert (with_hub.code, with_hub.report["verifiedBy"]) == (0, "hub")
    assert (without.code, without.report["verifiedBy"]) == (0, "structure")
    for result in (with_hub, without):
        assert result.report["config"]["max_position_embeddings"] == 131072
    (reported,) = [event for event in with_hub.events if event["event"] == "differs"]
    assert reported["files"] == 2 and "config.json, generation_config.json" in reported["message"]


def test_a_config_must_be_there_whatever_it_says(tiny: Setup) -> None:
    (tiny.target / "config.json").unlink()
    result = tiny.run("--existing")
    assert (result.code, result.report["reason"]) == (13, "IntegrityError")


def test_the_marker_is_the_second(tiny: Setup) -> None:
    shutil.rmtree(tiny.target)
    assert tiny.run().code == 0
    result = tiny.run("--existing", "--endpoint", GONE)
    assert (result.code, result.report["verifiedBy"]) == (0, "marker")
    with (tiny.target / "model.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\xaa")
    result = tiny.run("--existing", "--endpoint", GONE)
    assert (result.code, result.report["reason"]) == (13, "IntegrityError")
    assert "completion marker" in result.report["message"]


@pytest.mark.parametrize("why", ["unreachable", "unknown model"])
def test_structure_is_the_last(tiny: Setup, why: str) -> None:
    asked = ("--endpoint", GONE) if why == "unreachable" else ("--model", "our/fine-tune")
    result = tiny.run("--existing", *asked)
    assert (result.code, result.report["verifiedBy"], result.report["commit"]) == (0, "structure", "")
    assert result.report["files"] == 6 and result.report["weightsBytes"] == 757720
    weights = tiny.target / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    result = tiny.run("--existing", *asked)
    assert (result.code, result.report["reason"]) == (20, "InvalidRepository")
    assert "cut short" in result.report["message"]


def test_no_such_folder(tiny: Setup) -> None:
    result = tiny.run("--existing", "--target", str(tiny.folder / "volume" / "nothing"))
    assert (result.code, result.report["reason"]) == (20, "InvalidRepository")


def test_index_that_names_missing_shards(setup: Setup, serve: Serve) -> None:
    setup.write(model_1=MIB)
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (setup.source / "model.safetensors.index.json").write_text(json.dumps(index))
    serve()
    result = setup.run()
    assert (result.code, result.report["reason"]) == (20, "InvalidRepository")
    assert "model-2.safetensors" in result.report["message"]
    setup.assert_untouched()


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, struct.pack("<Q", 1 << 40) + b"{}", struct.pack("<Q", 4) + b"nope", b"<html>"]
)
def test_files_that_are_no_safetensors(setup: Setup, serve: Serve, content: bytes) -> None:
    setup.write(model=MIB)
    serve()
    setup.target.mkdir()
    (setup.target / "config.json").write_text(json.dumps(CONFIG))
    (setup.target / "model.safetensors").write_bytes(content)
    result = setup.run("--existing", "--model", "our/fine-tune")  # which the hub does not know
    assert (result.code, result.report["reason"]) == (20, "InvalidRepository")


def test_a_repository_of_pointers_is_refused_on_a_claim_too(setup: Setup, serve: Serve) -> None:
    """The hub lists just that, and says so for each byte."""
    setup.write(model_1=32 * MIB)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 4902257696\n"
    (setup.source / "model-2.safetensors").write_text(pointer)
    hub = serve("--total-rate", str(8 * MIB))
    copied = setup.target.with_name("copied")
    shutil.copytree(setup.source, copied)
    for result in (setup.run(), setup.run("--existing", "--target", str(copied))):
        assert (result.code, result.report["reason"]) == (20, "InvalidRepository")
        assert "model-2.safetensors is a Git LFS pointer" in result.report["message"]
    assert sum(e["sent"] for e in hub.log("file")) < 16 * MIB, "seen before the rest is fetched"


def test_weights_that_the_model_does_not_have(tiny: Setup) -> None:
    """vLLM loads every safetensors file of the folder."""
    (tiny.target / "adapter_model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    result = tiny.run("--existing")
    assert (result.code, result.report["reason"]) == (13, "IntegrityError")
    assert "adapter_model.safetensors. Move them away" in result.report["message"]
