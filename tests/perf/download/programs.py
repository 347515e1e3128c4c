"""The programs that are compared, as commands for a repository on a hub."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hub.process import HubProcess

PLAIN_CLIENT = """
import sys
from modelscope.hub.snapshot_download import snapshot_download
snapshot_download(sys.argv[1], local_dir=sys.argv[2], revision="master")
"""


@dataclass(frozen=True)
class Job:
    """What to fetch, and where to: `folder` is empty before every run."""

    hub: HubProcess
    model: str
    files: Sequence[str]
    folder: Path

    def url(self, file: str) -> str:
        return f"{self.hub.url}/api/v1/models/{self.model}/repo?Revision=master&FilePath={file}"

    def environment(self) -> dict[str, str]:
        """Everything on the local hub: no proxy, its authority, the client's lock folder out of the way."""
        settings = {
            "MODELSCOPE_ENDPOINT": self.hub.url,
            "MODELSCOPE_CACHE": str(self.folder / "cache"),
            "NO_PROXY": "*",
        }
        settings |= {"MODELSCOPE_HOME": str(self.folder / "home"), "TQDM_DISABLE": "1", "PYTHONDONTWRITEBYTECODE": ""}
        if self.hub.ca:
            settings["REQUESTS_CA_BUNDLE"] = str(self.hub.ca)
        return settings


def ours(job: Job, revision: str = "master") -> list[list[str]]:
    """qwen3-download as it comes, verification included."""
    command = [sys.executable, "-m", "qwen3_download", "--model", job.model, "--endpoint", job.hub.url]
    return [[*command, "--revision", revision, "--target", str(job.folder / revision)]]


def curl_in_turn(job: Job) -> list[list[str]]:
    """One curl for all files, keep-alive."""
    return [_curl(job, job.files)]


def curl_side_by_side(job: Job) -> list[list[str]]:
    """A curl for each file at the same time."""
    return [_curl(job, [file]) for file in job.files]


def curl_and_sha256(job: Job) -> list[list[str]]:
    """A curl for each file at the same time, and then the file's sha256, by the fastest program for it: Debian's
    sha256sum takes seven times as long as OpenSSL."""
    script = '"$@" && openssl dgst -sha256 "$FILE"'
    return [["env", f"FILE={job.folder / file}", "sh", "-c", script, "sh", *_curl(job, [file])] for file in job.files]


def curl_first_part(job: Job, size: int) -> list[list[str]]:
    """One curl for the first `size` bytes of the first shard."""
    weights = [file for file in job.files if file.endswith(".safetensors")]
    return [[*_curl(job, weights[:1]), "--range", f"0-{size - 1}"]]


def aria2(job: Job) -> list[list[str]]:
    """aria2c with 16 connections, without verification."""
    program = shutil.which("aria2c")
    if not program:
        return []
    listing = job.folder / "list.txt"
    listing.write_text("".join(f"{job.url(file)}\n  out={file}\n" for file in job.files))
    options = ["-q", "-x16", "-s16", "-k1M", "-j1", "--file-allocation=none", "--no-conf", f"--dir={job.folder}"]
    authority = [f"--ca-certificate={job.hub.ca}"] if job.hub.ca else []
    return [[program, *options, *authority, f"--input-file={listing}"]]


def plain_client(job: Job) -> list[list[str]]:
    """`snapshot_download` of the pinned client."""
    return [[sys.executable, "-c", PLAIN_CLIENT, job.model, str(job.folder / "model")]]


def _curl(job: Job, files: Sequence[str]) -> list[str]:
    authority = ["--cacert", str(job.hub.ca)] if job.hub.ca else []
    command = ["curl", "--silent", "--fail", "--noproxy", "*", *authority]
    for file in files:
        command += ["--output", str(job.folder / file), job.url(file)]
    return command
