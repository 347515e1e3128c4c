"""Whether a folder is a checkpoint at all, by its own files: configuration, shards, safetensors headers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from qwen3_download.errors import Failure, Reason
from qwen3_download.listing import ADAPTER, INDEXES, RemoteFile, check_servable, is_adapter_weights, is_loaded
from qwen3_download.tensors import read_header
from qwen3_download.volume import disk_failure, reading

_LFS = b"version https://git-lfs.github.com/spec/"
_LONGEST_POINTER = 1024
_PICKLES = (b"PK", b"\x80")
"""How a file of torch.save begins: a zip archive, and before 2020 a pickle."""


def check_folder(folder: Path) -> list[str]:
    """Names of the files of a servable checkpoint. Raises Failure: InvalidRepository, VolumeNotReadable."""
    names = sorted(path.relative_to(folder).as_posix() for path in _files(folder))
    # The same rule as for a listing: what a download accepts is accepted on a claim.
    check_servable([RemoteFile(name, 0, "") for name in names], filtered=False)
    _read_json(folder / "config.json")
    check_files(names, lambda name: folder / name)
    return names


def check_files(names: Iterable[str], place: Callable[[str], Path]) -> None:
    """Raises Failure(InvalidRepository) when an index names a shard that is not there, or a file is not what it has to
    be by its name."""
    names = list(names)
    for name in names:
        check_file(names, name, place(name))


def check_file(names: Collection[str], name: str, path: Path) -> None:
    """Whether one of the files `names`, which lies at `path`, is what vLLM takes it for.

    Raises Failure(InvalidRepository).
    """
    with reading(path):
        _check_is_no_pointer(name, path)
        if name in INDEXES:
            _check_index(name, names, path)
        elif _is_safetensors(name):
            check_safetensors(path, name)
        elif is_adapter_weights(name):
            check_safetensors(path, name) if name.endswith(".safetensors") else _check_pickle(path, name)
        elif name == ADAPTER and any(map(is_adapter_weights, names)):
            _read_json(path)
        elif is_loaded(name) and not any(map(_is_safetensors, names)):
            _check_pickle(path, name)


def _files(folder: Path) -> Iterator[Path]:
    """Files below `folder`. That it cannot be read is not that it is empty; a lost+found in it does not matter."""

    def refused(error: OSError) -> None:
        if error.filename == str(folder):
            raise disk_failure(error, folder, "read") from error

    for at, _, names in os.walk(folder, onerror=refused):
        yield from (path for name in names if (path := Path(at, name)).is_file())


def _check_is_no_pointer(name: str, path: Path) -> None:
    """Of what is needed to serve; a picture beside the README may be one."""
    needed = is_loaded(name) or is_adapter_weights(name) or name.endswith((".json", ".jinja", ".txt", ".model", ".py"))
    if not needed or path.stat().st_size > _LONGEST_POINTER:
        return
    with path.open("rb") as stream:
        if stream.read(len(_LFS)) == _LFS:
            words = "was never uploaded to this repository; it has to be pushed again with git lfs, or take another"
            raise Failure(Reason.INVALID_REPOSITORY, f"{name} is a Git LFS pointer: the file itself {words}")


def _check_index(index: str, names: Collection[str], path: Path) -> None:
    shards = _read_json(path).get("weight_map")
    if not isinstance(shards, Mapping):
        raise Failure(Reason.INVALID_REPOSITORY, f"{index} has no weight_map")
    if not any(str(shard) in names for shard in shards.values()) and any(map(_is_other(index), names)):
        return  # the index of a format that stays out
    missing = sorted({str(shard) for shard in shards.values()} - set(names))
    if missing:
        shown = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
        raise Failure(Reason.INVALID_REPOSITORY, f"{index} names {len(missing)} missing files: {shown}")


def _is_other(index: str) -> Callable[[str], bool]:
    """Whether a file is a weight file of another format than an index's."""
    end = Path(index.removesuffix(".index.json")).suffix
    return lambda name: is_loaded(name) and not name.endswith(end)


def _is_safetensors(name: str) -> bool:
    return is_loaded(name) and name.endswith(".safetensors")


def _check_pickle(path: Path, name: str) -> None:
    with path.open("rb") as stream:
        if not stream.read(2).startswith(_PICKLES):
            raise Failure(Reason.INVALID_REPOSITORY, f"{name} is no file that torch wrote, or is damaged")


def check_safetensors(path: Path, name: str = "") -> None:
    """Raises Failure(InvalidRepository) when the file is cut short or no safetensors file: header against size.

    `name`: of the file in words; its path where it has none.
    """
    name, size = name or str(path), path.stat().st_size
    try:
        end = max((tensor.end for tensor in read_header(path).values()), default=0)
    except ValueError:
        words = f"{name} is not a safetensors file, or has a damaged header"
        raise Failure(Reason.INVALID_REPOSITORY, words) from None
    with path.open("rb") as stream:
        wanted = 8 + int.from_bytes(stream.read(8), "little") + end
    if size != wanted:
        text = f"{name} has {size} bytes where its header needs {wanted}: it is cut short or damaged"
        raise Failure(Reason.INVALID_REPOSITORY, text)


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        with reading(path):
            data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise Failure(Reason.INVALID_REPOSITORY, f"{path.name} cannot be read: {error}") from error
    if not isinstance(data, Mapping):
        raise Failure(Reason.INVALID_REPOSITORY, f"{path.name} is not a JSON object")
    return data
