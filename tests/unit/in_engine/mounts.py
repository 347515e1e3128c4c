"""A Secret as the kubelet mounts it, and a clock that is set by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class Clock:
    """Stands still."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Volume:
    """Files behind a link that is changed at once."""

    def __init__(self, folder: Path, keys: Mapping[str, str]) -> None:
        self.folder, self._version = folder, 0
        self.write(keys)

    def write(self, keys: Mapping[str, str]) -> None:
        """Have these files from now on."""
        self._version += 1
        data = self.folder / f"..{self._version}"
        data.mkdir()
        for name, key in keys.items():
            (data / name).write_text(key)
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        new = self.folder / "..new"
        new.symlink_to(data.name)
        new.rename(self.folder / "..data")
        for link in self.folder.iterdir():
            if not link.name.startswith("..") and link.name not in keys:
                link.unlink()
