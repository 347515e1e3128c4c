"""The download when nothing is wrong: what it leaves, reports and asks for."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hub.process import HubProcess
from tests.data.make_tiny_adapter import make_adapter
from tests.documents.snippets import documented
from tests.download.conftest import CONFIG, MIB, MODEL, Setup

pytestmark = pytest.mark.download
Serve = Callable[..., HubProcess]


def test_reports_and_marker(setup: Setup, serve: Serve) -> None:
    setup.write(model_1=9 * MIB + 5, model_2=MIB)
    hub = serve()
    result = setup.run()
    assert result.code == 0, result.errors
    setup.assert_complete()
    total = 10 * MIB + 5 + len(json.dumps(CONFIG))
    report = result.report
    assert {k: report[k] for k in ("result", "model", "revision", "files", "bytes", "weightsBytes")} == {
        "result": "Complete",
        "model": MODEL,
        "revision": "master",
        "files": 3,
        "bytes": total,
        "weightsBytes": 10 * MIB + 5,
    }
    assert report["config"] == CONFIG
    assert report["bytesPerSecond"] > 0 and report["seconds"] > 0
    marker = json.loads((setup.target / ".complete.json").read_text())
    assert marker["commit"] == report["commit"] == setup_commit(hub)
    assert marker["files"]["model-2.safetensors"] == {
        "size": MIB,
        "sha256": hashlib.sha256((setup.source / "model-2.safetensors").read_bytes()).hexdigest(),
    }
    assert [e["event"] for e in result.events if e["event"] != "progress"] == ["listing", "verified", "complete"]
    assert sum(entry["sent"] for entry in hub.log("file")) == total, "no byte is fetched twice"


def setup_commit(hub: HubProcess) -> str:
    data = hub.request("GET", f"/api/v1/models/{MODEL}/repo/files?Revision=master")["Data"]
    commit: str = data["LatestCommitter"]["Id"]
    return commit


def test_second_run_needs_no_network(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB)
    hub = serve()
    assert setup.run().code == 0
    hub.clear_log()
    again = setup.run()
    assert (again.code, hub.log()) == (0, [])
    assert again.report["result"] == "Complete"


def test_what_a_run_does_not_use_is_not_imported(setup: Setup, serve: Serve) -> None:
    """The hub's client takes a third of a second to import, and libcurl some hundredths: a pod that finds all in place
    has neither, and who gets plain answers has no client."""
    setup.write(model=MIB)
    hub = serve()

    def imported(*options: str) -> set[str]:
        result = setup.run(*options, PYTHONPROFILEIMPORTTIME="1")
        assert result.code == 0, result.errors
        names = {line.rpartition("|")[2].strip() for line in result.errors.splitlines() if "import time:" in line}
        return names & {"modelscope_hub", "pycurl", "requests", "urllib3", "cryptography"}

    assert imported("--list") == imported() == {"pycurl"}
    hub.fault({"status": 503}, on="listing", times=1)
    assert imported("--list") >= {"modelscope_hub", "requests"}, "what is used is seen here"
    assert imported() == imported("--verify") == imported("--remove") == set()


def test_verify_needs_no_network_where_all_is_right(setup: Setup, serve: Serve) -> None:
    setup.write(model=6 * MIB)
    hub = serve()
    assert setup.run().code == 0
    hub.clear_log()
    result = setup.run("--verify")
    assert (result.code, hub.log()) == (0, [])
    assert result.of("verified") and result.report["fetchedFiles"] == 0


def test_wrong_size_is_mended_alone(setup: Setup, serve: Serve) -> None:
    setup.write(model_1=6 * MIB, model_2=6 * MIB)
    hub = serve()
    assert setup.run().code == 0
    os.truncate(setup.target / "model-2.safetensors", 3 * MIB)
    hub.clear_log()
    assert setup.run().code == 0
    setup.assert_complete()
    assert {e["path"] for e in hub.log("file")} == {"model-2.safetensors"}


def test_repair_stays_with_its_commit(setup: Setup, serve: Serve) -> None:
    setup.write(model_1=6 * MIB, model_2=6 * MIB)
    serve()
    assert setup.run().code == 0
    before = setup.source.with_name(setup.source.name + "@before")
    shutil.copytree(setup.source, before)
    (setup.source / "config.json").write_text("{}")
    os.truncate(setup.target / "model-1.safetensors", 5)
    assert setup.run().code == 0
    assert json.loads((setup.target / "config.json").read_text()) == CONFIG
    assert (setup.target / "model-1.safetensors").read_bytes() == (before / "model-1.safetensors").read_bytes()


def test_repair_that_was_killed(setup: Setup, serve: Serve) -> None:
    """Killed while files are replaced: no marker, but the plan beside the target says what was going on."""
    setup.write(model_1=6 * MIB, model_2=6 * MIB)
    hub = serve("--total-rate", str(4 * MIB))
    assert setup.run().code == 0
    os.truncate(setup.target / "model-1.safetensors", 5)
    process = setup.start()
    until = time.monotonic() + 200
    hub.clear_log()
    while not hub.log("file"):
        assert time.monotonic() < until
        time.sleep(0.02)
    process.kill()
    setup.finish(process)
    (setup.target / ".complete.json").unlink()
    assert setup.run().code == 0
    setup.assert_complete()


def test_flipped_byte_is_found_and_mended_with_verify(setup: Setup, serve: Serve) -> None:
    setup.write(model_1=6 * MIB, model_2=6 * MIB)
    hub = serve()
    assert setup.run().code == 0
    with (setup.target / "model-1.safetensors").open("r+b") as stream:
        stream.write(b"\0\1\2\3")
    hub.clear_log()
    assert setup.run("--verify").code == 0
    setup.assert_complete()
    assert {e["path"] for e in hub.log("file")} == {"model-1.safetensors"}


def test_duplicate_formats_stay_out(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB)
    (setup.source / "original").mkdir()
    for name in ("pytorch_model.bin", "model.gguf", "original/consolidated.00.pth"):
        (setup.source / name).write_bytes(b"x" * 100)
    serve()
    assert setup.run().code == 0
    setup.assert_complete("pytorch_model.bin", "model.gguf", "original/consolidated.00.pth")


def test_patterns(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB, other=MIB)
    (setup.source / "notes.md").write_text("notes")
    serve()
    result = setup.run("--ignore", "notes.md,other*", QWEN3_DOWNLOAD_ALLOW="*")
    assert result.code == 0
    setup.assert_complete("notes.md", "other.safetensors")


def test_patterns_that_leave_nothing(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB)
    serve()
    result = setup.run("--allow", "nothing*")
    assert (result.code, result.report["reason"]) == (20, "InvalidRepository")
    assert "patterns" in result.report["message"]
    setup.assert_untouched()


def test_named_revision_and_commit(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB)
    shutil.copytree(setup.source, setup.source.with_name(setup.source.name + "@v1.0"))
    (setup.source / "config.json").write_text("{}")
    hub = serve()
    assert setup.run("--revision", "v1.0").code == 0
    assert json.loads((setup.target / "config.json").read_text()) == CONFIG
    commit = json.loads((setup.target / ".complete.json").read_text())["commit"]
    hub.clear_log()
    assert setup.run("--revision", commit).code == 0, "the commit names the same content"
    assert hub.log() == []
    other = setup.run("--revision", "master")
    assert (other.code, other.report["reason"]) == (2, "Usage")


def test_token_goes_to_the_hub_only(setup: Setup, serve: Serve) -> None:
    setup.write(model=6 * MIB)
    hub = serve("--token", "secret", "--redirect")
    result = setup.run("--allow-http-token", MODELSCOPE_API_TOKEN="secret")
    assert result.code == 0
    setup.assert_complete()
    assert {e["authorization"] for e in hub.log("listing")} == {True}
    assert {e["authorization"] for e in hub.log("file")} == {False}, "the CDN must not see the token"
    assert "secret" not in json.dumps(result.events) + result.errors


def test_ranges_answered_with_200(setup: Setup, serve: Serve) -> None:
    setup.write(model=40 * MIB)
    serve("--range-status", "200", "--redirect")
    assert setup.run().code == 0
    setup.assert_complete()


def test_private_authority(setup: Setup, serve: Serve) -> None:
    setup.write(model=9 * MIB)
    serve(tls=True)
    authority = setup.environment.pop("REQUESTS_CA_BUNDLE")
    refused = setup.run("--give-up-after", "1")
    assert (refused.code, refused.report["reason"]) == (30, "HubUnavailable")
    assert "certificate" in refused.report["message"].lower()
    assert setup.run(REQUESTS_CA_BUNDLE=authority).code == 0
    setup.assert_complete()
    shutil.rmtree(setup.target)
    assert setup.run(SSL_CERT_FILE=authority).code == 0


def test_many_files_in_folders(setup: Setup, serve: Serve) -> None:
    """3,000 files: the hub truncates its listing there, and the client asks folder by folder."""
    setup.write(model=MIB)
    for number in range(3000):
        path = setup.source / f"part-{number % 7}" / f"{number}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'{{"n": {number}}}')
    serve()
    few, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, most))
    try:
        result = setup.run()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, most))
    assert result.code == 0
    assert result.report["files"] == 3002
    setup.assert_complete()


@pytest.mark.long
def test_five_gib_sparse_file(setup: Setup, serve: Serve) -> None:
    setup.write()
    size = 5 * 1024 * MIB + 12345
    header = (
        json.dumps({"a": {"dtype": "U8", "shape": [size - 108], "data_offsets": [0, size - 108]}}).encode().ljust(100)
    )
    with (setup.source / "model.safetensors").open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(size)
    serve()
    result = setup.run()
    assert result.code == 0, result.report
    assert result.report["bytes"] == 5 * 1024 * MIB + 12345 + len(json.dumps(CONFIG))
    assert (setup.target / "model.safetensors").stat().st_size == 5 * 1024 * MIB + 12345


def test_bandwidth_limit(setup: Setup, serve: Serve) -> None:
    setup.write(model=12 * MIB)
    serve()
    result = setup.run("--limit-rate", "2M")
    assert result.code == 0
    assert result.report["seconds"] > 5.5
    rates = [e["bytesPerSecond"] for e in result.of("progress")]
    assert rates and max(rates) < 2.6 * MIB


def test_progress_only_grows(setup: Setup, serve: Serve) -> None:
    setup.write(model=10 * MIB)
    serve("--total-rate", str(1.5 * MIB))
    result = setup.run()
    done = [e["bytesDone"] for e in result.of("progress")]
    assert len(done) >= 2 and done == sorted(done)
    last = result.of("progress")[-1]
    assert last["bytesTotal"] == result.report["bytes"] and last["filesTotal"] == 2
    assert last["etaSeconds"] >= 0


def test_folder_with_other_content_is_left_alone(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB)
    serve()
    setup.target.mkdir()
    (setup.target / "mine.txt").write_text("mine")
    result = setup.run()
    assert (result.code, result.report["reason"]) == (2, "Usage")
    assert [p.name for p in setup.target.iterdir()] == ["mine.txt"]


def test_several_targets_at_once(setup: Setup, serve: Serve) -> None:
    setup.write(model=9 * MIB)
    serve()
    volume = setup.folder / "volume"
    running = [setup.start("--target", str(volume / name)) for name in ("a", "b", "c")]
    assert [setup.finish(p).code for p in running] == [0, 0, 0]
    assert sorted(p.name for p in volume.iterdir()) == ["a", "b", "c"]


def test_every_request_to_the_hub_has_the_token(setup: Setup, serve: Serve) -> None:
    setup.write(model=60 * MIB)
    hub = serve("--token", "secret")
    assert setup.run("--allow-http-token", MODELSCOPE_API_TOKEN="secret").code == 0
    setup.assert_complete()
    requests = hub.log("file")
    assert len(requests) > 3 and all(e["authorization"] for e in requests)


@pytest.mark.parametrize("proxied", [True, False])
def test_proxy(setup: Setup, serve: Serve, tmp_path: Path, proxied: bool) -> None:
    """A proxy that is not there: used, or left out by NO_PROXY."""
    setup.write(model=MIB)
    serve()
    result = setup.run(
        "--give-up-after", "1", HTTP_PROXY="http://127.0.0.1:9", NO_PROXY="" if proxied else "127.0.0.1,localhost"
    )
    assert result.code == (30 if proxied else 0)


def test_the_command_of_the_document(setup: Setup, serve: Callable[..., HubProcess]) -> None:
    """By its name, with nothing but the hub's address beside it."""
    model = setup.folder / "root" / "Qwen" / "Qwen3-8B"
    setup.write(model=100_000)
    setup.source.rename(model)
    serve()
    target = setup.folder / "volume" / "qwen3-8b"

    def run_as_documented(command: str) -> None:
        name, *options = command.replace("/models", str(target.parent)).split()
        done = subprocess.run(
            [Path(sys.executable).with_name(name), *options],
            env=os.environ | {"QWEN3_DOWNLOAD_ENDPOINT": setup.url},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert (target / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()

    run_as_documented(documented("qwen3-download --model Qwen/Qwen3-8B --revision master --target /models/qwen3-8b"))
    assert (target / ".complete.json").exists()
    with (target / "model.safetensors").open("r+b") as stream:
        stream.write(b"damaged")
    run_as_documented(documented("qwen3-download --model Qwen/Qwen3-8B --target /models/qwen3-8b --verify"))


def test_an_adapter_is_fetched_with_just_its_files(setup: Setup, serve: Serve) -> None:
    make_adapter(setup.source, rank=8)
    (setup.source / "README.md").write_text("trained with care")
    (setup.source / "optimizer.pt").write_bytes(b"x" * 4096)
    serve()
    refused = setup.run()
    assert (refused.code, refused.report["reason"]) == (20, "InvalidRepository")
    assert "spec.engine.loraAdapters" in refused.report["message"]
    listed = setup.run("--adapter", "--list")
    assert listed.report["files"] == 2
    result = setup.run("--adapter")
    assert result.code == 0, result.errors
    setup.assert_complete("README.md", "optimizer.pt")
    assert (result.report["config"]["r"], result.report["checkpoint"]["lora"]["rank"]) == (8, 8)
    assert 0 < result.report["weightsBytes"] < result.report["bytes"]
    weights = setup.target / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"oops")
    assert setup.run("--adapter", "--verify").report["fetchedFiles"] == 1
    setup.assert_complete("README.md", "optimizer.pt")
    assert setup.run("--adapter", "--existing").code == 2
