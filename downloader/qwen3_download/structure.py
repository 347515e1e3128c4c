"""Whether a folder is a checkpoint at all, as far as its own files tell: configuration, shards, safetensors headers."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from qwen3_download.errors import Failure, Reason

INDEX = "model.safetensors.index.json"
_LONGEST_HEADER = 100_000_000  # bytes; the safetensors library's own limit


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
    weights = [name for name in names if name.endswith(".safetensors")]
    if not weights:
        raise Failure(Reason.INVALID_REPOSITORY, f"there are no weights (*.safetensors) in {folder}")
    check_index(names, lambda name: folder / name)
    for name in weights:
        check_safetensors(folder / name)
    return names


def check_safetensors(path: Path) -> None:
    """Raises Failure(InvalidRepository) when the file is cut short or no safetensors file: header against size."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(size - 8, _LONGEST_HEADER):
            raise Failure(Reason.INVALID_REPOSITORY, f"{path} is not a safetensors file")
        try:
            tensors = json.loads(stream.read(length))
            end = max((t["data_offsets"][1] for name, t in tensors.items() if name != "__metadata__"), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise Failure(Reason.INVALID_REPOSITORY, f"{path} has a damaged header") from None
    if size != 8 + length + end:
        text = f"{path} has {size} bytes where its header needs {8 + length + end}: it is cut short or damaged"
        raise Failure(Reason.INVALID_REPOSITORY, text)


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failure(Reason.INVALID_REPOSITORY, f"{path.name} cannot be read: {error}") from error
    if not isinstance(data, Mapping):
        raise Failure(Reason.INVALID_REPOSITORY, f"{path.name} is not a JSON object")
    return data
