"""What the hub lists, checked and filtered. Pure: raw entries in, files out, or a failure in words."""

from __future__ import annotations

import fnmatch
import glob
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from qwen3_download import marker
from qwen3_download.errors import Failure, Reason
from qwen3_download.paths import is_safe

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
ADAPTER = "adapter_config.json"
_ADAPTER_WEIGHTS = ("adapter_model*.safetensors", "adapter_model*.bin")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.safetensors|\.bin)")
# sentence-transformers' modules: the one kind of sub-folder whose weights are served (2_Dense).
_MODULE = re.compile(r"\d{1,2}_[A-Z]\w{0,60}")
# The same weights in other formats, and what training leaves behind: left out where safetensors are there.
DUPLICATES = (
    *("*.bin", "*.pt", "*.pth", "*.gguf", "*.ggml", "*.onnx", "*.onnx_data", "*.h5", "*.msgpack", "*.ot", "*.tflite"),
    *("original/*", "onnx/*", "openvino/*", "coreml/*", "flax_model*", "*.mlmodel", "*.nemo"),
    *_ADAPTER_WEIGHTS,
)
_MOST_SHARDS = 10_000
_LARGEST = 2**44
"""Bytes, of a file and of all: the largest file that ext4 takes. Every 4 MiB have a counter in memory."""
COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class RemoteFile:
    """One file of the repository: size in bytes, sha256 as 64 hex digits; empty where the listing lacks one of them."""

    path: str
    size: int
    sha256: str

    @property
    def is_weights(self) -> bool:
        """Whether vLLM would load it: it reads the root of the repository alone."""
        return is_weights(self.path)


@dataclass(frozen=True)
class Listing:
    """All files of one revision. `commit` pins it; `request_revision` is what to ask the hub for."""

    commit: str
    request_revision: str
    files: tuple[RemoteFile, ...]


def parse(entries: Iterable[Mapping[str, Any]]) -> tuple[RemoteFile, ...]:
    """The files among raw entries (`Path`, `Type`, `Size`, `Sha256`), by path.

    Raises Failure(InvalidRepository) for an unsafe path, or a path listed twice.
    """
    files: dict[str, RemoteFile] = {}
    for entry in entries:
        if not isinstance(entry, Mapping):
            raise Failure(Reason.INVALID_REPOSITORY, "the listing has entries that are no files")
        if entry.get("Type") == "tree":
            continue
        path = str(entry.get("Path") or entry.get("Name") or "")
        check_path(path)
        sha256 = str(entry.get("Sha256") or "").lower()
        size = entry.get("Size")
        if not isinstance(size, int) or not 0 <= size <= _LARGEST or not SHA256.fullmatch(sha256):
            size, sha256 = 0, ""  # no obstacle where nobody asks for the file
        if files.get(path, RemoteFile(path, size, sha256)) != RemoteFile(path, size, sha256):
            raise Failure(Reason.INVALID_REPOSITORY, f"the listing names {path!r} twice, with different content")
        files[path] = RemoteFile(path, size, sha256)
    for path in files:
        for parent in PurePosixPath(path).parents:
            if str(parent) in files:
                raise Failure(Reason.INVALID_REPOSITORY, f"the listing has {str(parent)!r} as a file and as a folder")
    return tuple(files[path] for path in sorted(files))


def check_path(path: str) -> None:
    """Refuse a path that could leave the target folder, or that this program uses itself."""
    if not is_safe(path):
        raise Failure(Reason.INVALID_REPOSITORY, f"the listing has an unsafe path: {path!r}")
    if path.partition("/")[0] in (marker.NAME, f"{marker.NAME}.tmp"):
        raise Failure(Reason.INVALID_REPOSITORY, f"the repository has a file {path!r}, a name this program needs")


def newest_commit(entries: Iterable[Mapping[str, Any]]) -> str:
    """The commit that touched a file last (40 hex digits), "" where the entries do not have it."""
    dated = [e for e in entries if COMMIT.fullmatch(str(e.get("Revision") or ""))]
    if not dated:
        return ""
    return str(max(dated, key=lambda e: _number(e.get("CommittedDate")))["Revision"])


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def digest(files: Sequence[RemoteFile]) -> str:
    """A name for this exact content where the hub gives no commit: `sha256:` and 64 hex digits."""
    text = "".join(f"{f.path}\0{f.size}\0{f.sha256}\n" for f in files)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def matches(path: str, patterns: Iterable[str]) -> bool:
    """fnmatch on the whole path, as the ModelScope client does: `*` crosses `/`."""
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def is_weights(path: str) -> bool:
    """Whether it is a weight file of the model at the root; `path` as in the listing."""
    return "/" not in path and matches(path, WEIGHTS) and not matches(path, _ADAPTER_WEIGHTS)


def is_adapter_weights(path: str) -> bool:
    """Whether it is a weight file of an adapter at the root."""
    return "/" not in path and matches(path, _ADAPTER_WEIGHTS)


def is_loaded(path: str) -> bool:
    """Whether vLLM takes its numbers from it: a weight file at the root, or of a module of sentence-transformers."""
    folder, _, name = path.rpartition("/")
    return is_weights(name) and (not folder or bool(_MODULE.fullmatch(folder)))


def nested(files: Iterable[RemoteFile]) -> list[str]:
    """Folders of the root with weights in them, in order: other checkpoints, as training leaves them behind."""
    tops = {f.path.split("/", 1)[0] for f in files if "/" in f.path and is_weights(PurePosixPath(f.path).name)}
    return sorted(top for top in tops if not _MODULE.fullmatch(top))


def missing_shards(names: Iterable[str]) -> list[str]:
    """Shards of the root that must exist by the names of others: model-00001-of-00003.safetensors. Not where an index
    says which there are, for what it does not name is not loaded."""
    names = set(names)
    if any(is_weights(name) and name.endswith(".safetensors") for name in names):
        names = {name for name in names if not name.endswith(".bin")}  # which are not loaded then
    shards = [match for name in names if is_weights(name) and (match := _SHARD.fullmatch(name))]
    sets = {(m[1], m[3], m[4]) for m in shards if f"{m[1]}{m[4]}.index.json" not in names}
    wanted = {
        f"{stem}-{number:05}-of-{count}{end}"
        for stem, count, end in sets
        for number in range(1, min(int(count), _MOST_SHARDS) + 1)
    }
    return sorted(wanted - names)


def select(files: Sequence[RemoteFile], allow: Sequence[str], ignore: Sequence[str]) -> tuple[RemoteFile, ...]:
    """The files to download. `allow` and `ignore` are the user's patterns; duplicates of the weights stay out
    unless `allow` names them. Raises Failure(InvalidRepository) when no servable model is left."""
    if not files:
        raise Failure(Reason.INVALID_REPOSITORY, "the listing is empty")
    duplicates = DUPLICATES if any(f.path.endswith(".safetensors") for f in files) else ()
    if any(f.is_weights for f in files):
        duplicates = (*duplicates, *(f"{glob.escape(folder)}/*" for folder in nested(files)))
    chosen = tuple(
        f
        for f in files
        if not matches(f.path, ignore) and (matches(f.path, allow) if allow else not matches(f.path, duplicates))
    )
    check_servable(chosen, filtered=bool(allow or ignore) and len(chosen) < len(files))
    if unknown := next((f.path for f in chosen if not f.sha256), None):
        raise Failure(Reason.INVALID_REPOSITORY, f"the listing gives no size or no sha256 for {unknown!r}")
    if (total := sum(f.size for f in chosen)) > _LARGEST:
        raise Failure(Reason.INVALID_REPOSITORY, f"the listing's files have {total} bytes, which no model has")
    return chosen


def check_servable(files: Sequence[RemoteFile], filtered: bool) -> None:
    """Refuse a set of files without configuration or without all weights at its root, and say what it is instead."""
    hint = " (after the allow and ignore patterns)" if filtered else ""
    names = {f.path for f in files}
    if "config.json" in names and any(f.is_weights for f in files):
        if shards := missing_shards(names):
            shown = ", ".join(shards[:3]) + (" …" if len(shards) > 3 else "")
            raise Failure(Reason.INVALID_REPOSITORY, f"{len(shards)} shards of the weights are missing{hint}: {shown}")
        return
    if "config.json" in names:
        missing = f"there are no weights (*.safetensors) among the files{hint}"
    else:
        missing = f"there is no config.json among the {len(files)} files{hint}"
    raise Failure(Reason.INVALID_REPOSITORY, missing + _instead(files, names))


def _instead(files: Sequence[RemoteFile], names: set[str]) -> str:
    adapters = sorted(name for name in names if PurePosixPath(name).name == ADAPTER)
    if adapters and not nested(files):
        return (
            f": this is an adapter ({adapters[0]}), no model: serve it beside its base model, which {adapters[0]} names"
            " as base_model_name_or_path (spec.engine.loraAdapters), or merge the two and publish the result"
        )
    if folders := nested(files):
        shown = ", ".join(folders[:4]) + (" …" if len(folders) > 4 else "")
        return (
            f" at its root, which is all that vLLM reads; there are weights in {shown}: publish one of them as a"
            " repository of its own, or put it on an existingClaim and name its path"
        )
    if any(name.endswith(".gguf") for name in names):
        return ": this is a GGUF repository: take the safetensors repository that it was made from"
    return ""
