"""The tensors of a checkpoint, by the headers of the safetensors files that vLLM loads: bytes by part and type."""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

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
            for tensor, dtype, size in _tensors(read_header(folder / name)):
                sizes = found.setdefault(tensor.partition(".")[0][:_LONGEST_NAME], {})
                sizes[dtype] = sizes.get(dtype, 0) + size
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return {}
    if len(found) > _MOST_PARTS or any(len(sizes) > _MOST_TYPES for sizes in found.values()):
        return _in_one(found)
    return found


def read_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file, without its metadata. Raises OSError, or ValueError where it is none."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(size - 8, LONGEST_HEADER):
            raise ValueError(f"{path} is not a safetensors file")
        header = json.loads(stream.read(length))
    if not isinstance(header, dict):
        raise ValueError(f"{path} has a damaged header")
    header.pop("__metadata__", None)
    return header


def _tensors(header: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """(name, dtype, bytes)"""
    for name, tensor in header.items():
        begin, end = tensor["data_offsets"]
        yield name, str(tensor["dtype"])[:_LONGEST_NAME], int(end) - int(begin)


def _in_one(found: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """All parts as one, where there are too many to tell apart; of the types the largest."""
    sizes: dict[str, int] = {}
    for part in found.values():
        for dtype, size in part.items():
            sizes[dtype] = sizes.get(dtype, 0) + size
    largest = sorted(sizes, key=lambda dtype: -sizes[dtype])[:_MOST_TYPES]
    return {"all": {dtype: sizes[dtype] for dtype in largest}}
