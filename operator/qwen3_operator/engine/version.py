"""vLLM versions: read from an image reference or a field, ordered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Self

_VERSION = re.compile(
    r"^v?(?P<numbers>\d+\.\d+(\.\d+){0,2})"  # 0.33, 0.33.0, 0.10.1.1
    r"(\.?(post|rc|dev)\d+)?"  # a post or pre-release knows what its release knows
    r"([-+_].*)?$"  # build variants: -cu130, -x86_64, +cpu
)


_OTHER_PRODUCTS = (
    "lmcache",
    "llm-d",
    "nvidia",
    "nvcr.io",
    "amd",
    "rocm",
    "intel",
    "habana",
    "dynamo",
    "aibrix",
    "kserve",
)
"""Parts of the names of images that hold a vLLM beside other things, and count their own releases."""
_FIRST_YEAR = 20
"""A tag such as 25.11 is a month."""


@total_ordering
@dataclass(frozen=True)
class EngineVersion:
    """A vLLM release, ``numbers`` as in 0.10.1.1 without trailing zeros."""

    numbers: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read ``0.33.0``, ``v0.33.0`` or ``v0.33.0-cu130``; None for anything else (``nightly``, ``latest``)."""
        match = _VERSION.match(text.strip())
        if match is None:
            return None
        numbers = [int(part) for part in match["numbers"].split(".")]
        while len(numbers) > 1 and numbers[-1] == 0:
            numbers.pop()
        return cls(tuple(numbers))

    @classmethod
    def of(cls, text: str) -> Self:
        """Like ``parse``, for text that is known to be a version. Raises ValueError."""
        version = cls.parse(text)
        if version is None:
            raise ValueError(f"{text!r} is not a vLLM version such as 0.33.0")
        return version

    @classmethod
    def from_image(cls, image: str) -> Self | None:
        """The version that the tag of one of vLLM's own images names; None for ``latest``, ``nightly``, a digest or no
        tag, and for images of other products, whose tags count something else."""
        reference = image.split("@", 1)[0]
        name, separator, tag = reference.rpartition(":")
        if not separator or "/" in tag or not name:  # no tag; the colon belongs to a registry's port
            return None
        *owners, last = name.lower().split("/")
        if "vllm" not in last or any(product in part for part in owners for product in _OTHER_PRODUCTS):
            return None
        version = cls.parse(tag)
        return version if version is not None and version.numbers[0] < _FIRST_YEAR else None

    @property
    def series(self) -> tuple[int, int]:
        """Major and minor number: 0.33 of 0.33.1."""
        padded = (*self.numbers, 0, 0)
        return padded[0], padded[1]

    def __lt__(self, other: EngineVersion) -> bool:
        return self.numbers < other.numbers

    def __str__(self) -> str:
        return ".".join(map(str, (*self.numbers, *(0 for _ in range(3 - len(self.numbers))))))


OLDEST_SUPPORTED = EngineVersion.of("0.8.5")
"""First release that knows Qwen3; older ones are refused."""

NEWEST_KNOWN = EngineVersion.of("0.33.0")
"""Newest release whose flags are in the data. An unknown or newer version is treated as this one."""
