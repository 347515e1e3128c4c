"""Whether a folder is a checkpoint at all, as far as its own files tell: configuration, shards, safetensors headers."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from qwen3_download.errors import Failure, Reason
from qwen3_download.listing import RemoteFile, check_servable
from qwen3_download.tensors import INDEX, read_header

_LFS = b"version https://git-lfs.github.com/spec/"


def check_index(names: Collection[str], place: Callable[[str], Path]) -> None:
    """Raises Failure(InvalidRepository) when the index names a shard that is not among the files."""
    if INDEX not in names:
        return
    shards = _read_json(place(INDEX)).get("weight_map")
    if not isinstance(shards, Mapping):
        raise Failure(Reason.INVALID_REPOSITORY, f"{INDEX} has no weight_map")
    missing = sorted({str(shard) for shard in shards.values()} - set(names))
    if missing:
        raise Failure(
            Reason.INVALID_REPOSITORY, f"{INDEX} names {len(missing)} missing files: {', '.join(missing[:3])}"
        )


def check_folder(folder: Path) -> list[str]:
    """Names of the files of a servable checkpoint. Raises Failure(InvalidRepository)."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    if "config.json" not in names:
        raise Failure(Reason.INVALID_REPOSITORY, f"there is no config.json in {folder}")
    _read_json(folder / "config.json")
    # The same rule as for a listing: what a download accepts is accepted on a claim.
    check_servable([RemoteFile(name, 0, "") for name in names], filtered=False)
    check_files(names, lambda name: folder / name)
    return names


def check_files(names: Iterable[str], place: Callable[[str], Path]) -> None:
    """Raises Failure(InvalidRepository) when the index names a shard that is not there, or weights are none."""
    names = list(names)
    check_index(names, place)
    for name in names:
        if name.endswith(".safetensors"):
            check_safetensors(place(name), name)


def check_safetensors(path: Path, name: str = "") -> None:
    """Raises Failure(InvalidRepository) when the file is cut short or no safetensors file: header against size.

    `name`: of the file in words; its path where it has none.
    """
    name, size = name or str(path), path.stat().st_size
    try:
        tensors = read_header(path)
        end = max((t["data_offsets"][1] for t in tensors.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise Failure(Reason.INVALID_REPOSITORY, f"{name} {_what_it_is(path)}") from None
    with path.open("rb") as stream:
        wanted = 8 + int.from_bytes(stream.read(8), "little") + end
    if size != wanted:
        text = f"{name} has {size} bytes where its header needs {wanted}: it is cut short or damaged"
        raise Failure(Reason.INVALID_REPOSITORY, text)


def _what_it_is(path: Path) -> str:
    with path.open("rb") as stream:
        if stream.read(len(_LFS)) == _LFS:
            return (
                "is a Git LFS pointer, not the weights: they were never uploaded to this repository; it has to be"
                " pushed again with git lfs, or take another"
            )
    return "is not a safetensors file, or has a damaged header"


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failure(Reason.INVALID_REPOSITORY, f"{path.name} cannot be read: {error}") from error
    if not isinstance(data, Mapping):
        raise Failure(Reason.INVALID_REPOSITORY, f"{path.name} is not a JSON object")
    return data
