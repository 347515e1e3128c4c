"""Which arguments `vllm serve` takes in which release. The data stand in flag_table.tsv."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from qwen3_operator.engine.version import NEWEST_KNOWN, EngineVersion

_DISABLE_NEGATIVES_SINCE = EngineVersion.of("0.33.0")
"""From here on `--disable-x` negates `--enable-x` and the other way round; `--no-enable-x` works in every release."""


@dataclass(frozen=True)
class Flag:
    """One argument of `vllm serve`, spelled with dashes."""

    name: str
    aliases: tuple[tuple[str, EngineVersion | None], ...]
    arity: str
    """``0`` and ``bool``: no value; ``1``; ``?``: 0 or 1; ``+``: 1 or more."""
    type: str
    since: EngineVersion | None
    gone: EngineVersion | None
    choices: tuple[str, ...]

    @property
    def takes_value(self) -> bool:
        """True when a value may follow."""
        return self.arity in ("1", "?", "+")

    def exists_in(self, version: EngineVersion) -> bool:
        """True when that release takes the flag."""
        return (self.since is None or version >= self.since) and (self.gone is None or version < self.gone)

    def spellings(self, version: EngineVersion) -> Iterator[str]:
        """Every way to write it in that release, dashes only, negatives included."""
        yield self.name
        yield from (alias for alias, since in self.aliases if since is None or version >= since)
        if self.arity == "bool":
            yield f"--no-{self.name.removeprefix('--')}"
            if version >= _DISABLE_NEGATIVES_SINCE:
                for prefix, inverse in (("--enable-", "--disable-"), ("--disable-", "--enable-")):
                    if self.name.startswith(prefix):
                        yield inverse + self.name.removeprefix(prefix)


@cache
def all_flags() -> Mapping[str, Flag]:
    """Every flag of any known release, by its name."""
    text = resources.files("qwen3_operator.engine").joinpath("flag_table.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if line.startswith("-")]
    return {
        name: Flag(
            name=name,
            aliases=tuple(_alias(word) for word in aliases.split()),
            arity=arity,
            type=kind,
            since=EngineVersion.parse(since),
            gone=EngineVersion.parse(gone),
            choices=tuple(choices.split(",")) if choices else (),
        )
        for name, aliases, arity, kind, since, gone, choices in rows
    }


def _alias(word: str) -> tuple[str, EngineVersion | None]:
    name, _, since = word.partition("@")
    return name, EngineVersion.parse(since)


@cache
def _spellings(version: EngineVersion) -> Mapping[str, Flag]:
    return {text: flag for flag in all_flags().values() if flag.exists_in(version) for text in flag.spellings(version)}


def has_flag(name: str, version: EngineVersion) -> bool:
    """True when that release of vLLM takes the flag (full name, dashes)."""
    flag = all_flags().get(name)
    return flag is not None and flag.exists_in(effective(version))


def effective(version: EngineVersion | None) -> EngineVersion:
    """The release whose flags are used: an unknown or newer version is treated as the newest known."""
    return NEWEST_KNOWN if version is None or version > NEWEST_KNOWN else version


@dataclass(frozen=True)
class Match:
    """What a word such as ``--max_model_len`` means to the parser of one release."""

    flag: Flag | None
    spelling: str = ""
    candidates: tuple[str, ...] = ()
    """Full names an ambiguous abbreviation could mean."""


def find(word: str, version: EngineVersion) -> Match:
    """Resolve one word as vLLM's parser does: underscores as dashes, aliases, unique prefixes, ``--json.key``."""
    spellings = _spellings(effective(version))
    name = word if re.match(r"-[^-]", word) else word.replace("_", "-")
    if name in spellings:
        return Match(spellings[name], name)
    base, dot, _ = word.partition(".")
    if dot:
        base = base if re.match(r"-[^-]", base) else base.replace("_", "-")
        if base in spellings and spellings[base].arity == "1":
            return Match(spellings[base], base)
    if re.fullmatch(r"-O[0-3]?", base):
        flags = all_flags()
        level = flags["--optimization-level"]
        return Match(level if level.exists_in(effective(version)) else flags["--compilation-config"], base)
    if name.startswith("--") and len(name) > 2:
        hits = sorted(text for text in spellings if text.startswith(name))
        if hits and len({spellings[text].name for text in hits}) == 1:
            return Match(spellings[hits[0]], hits[0])
        if hits:
            return Match(None, candidates=tuple(hits))
    return Match(None)


def nearest(word: str, version: EngineVersion) -> str | None:
    """The flag of that release that was probably meant by an unknown one, or None."""
    name = word.partition(".")[0].replace("_", "-")
    names = [text for text in _spellings(effective(version)) if text.startswith("--")]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    return close[0] if close else None
