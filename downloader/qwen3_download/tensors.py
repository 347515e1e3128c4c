"""The tensors of a checkpoint, by the headers of the safetensors files that vLLM loads: bytes by part and type."""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from qwen3_download.reading import read_json

INDEX = "model.safetensors.index.json"
LONGEST_HEADER = 100_000_000
"""Bytes; the safetensors library's own limit."""
_MOST_PARTS = 12
_MOST_TYPES = 8
_LONGEST_NAME = 32


def loaded_files(names: Collection[str], index: Any) -> list[str]:
    """The weight files among the names of a folder that vLLM loads: those at its root, and of them only the index's.

    vLLM takes *.safetensors of the folder itself and then drops what the index does not name
    (model_executor/model_loader/weight_utils.py, filter_duplicate_safetensors_files); what lies in sub-folders, as
    training leaves it there, is never read.
    """
    root = sorted(name for name in names if name.endswith(".safetensors") and "/" not in name)
    shards = index.get("weight_map") if isinstance(index, Mapping) else None
    if not isinstance(shards, Mapping):
        return root
    named = {str(shard) for shard in shards.values()}
    return [name for name in root if name in named]


def read_tensors(folder: Path) -> dict[str, dict[str, int]]:
    """{first part of the tensors' names: {dtype: bytes}}; {} where a header cannot be read, or there is none."""
    try:
        names = [p.name for p in folder.iterdir() if p.suffix == ".safetensors" and p.is_file()]
        found: dict[str, dict[str, int]] = {}
        for name in loaded_files(names, read_json(folder / INDEX)):
            for path, tensor in read_header(folder / name).items():
                sizes, dtype = (
                    found.setdefault(path.partition(".")[0][:_LONGEST_NAME], {}),
                    tensor.dtype[:_LONGEST_NAME],
                )
                sizes[dtype] = sizes.get(dtype, 0) + tensor.end - tensor.begin
    except (OSError, ValueError):
        return {}
    if len(found) > _MOST_PARTS or any(len(sizes) > _MOST_TYPES for sizes in found.values()):
        return _in_one(found)
    return found


class Tensor(NamedTuple):
    """What a header says of one; `begin` and `end` in bytes after the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name. Raises OSError, or ValueError where it is none."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(size - 8, LONGEST_HEADER):
            raise ValueError(f"{path} is not a safetensors file")
        text = stream.read(length)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        return {name: _tensor(said) for name, said in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} has a damaged header") from error


def _tensor(said: Mapping[str, Any]) -> Tensor:
    """Raises ValueError, KeyError or TypeError where it is none."""
    shape, (begin, end) = said["shape"], said["data_offsets"]
    if any(type(n) is not int or n < 0 for n in (*shape, begin, end)) or begin > end:
        raise ValueError("a shape or an offset is no number of a tensor")
    return Tensor(str(said["dtype"]), tuple(shape), begin, end)


def _in_one(found: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """All parts as one, where there are too many to tell apart; of the types the largest."""
    sizes: dict[str, int] = {}
    for part in found.values():
        for dtype, size in part.items():
            sizes[dtype] = sizes.get(dtype, 0) + size
    largest = sorted(sizes, key=lambda dtype: -sizes[dtype])[:_MOST_TYPES]
    return {"all": {dtype: sizes[dtype] for dtype in largest}}
