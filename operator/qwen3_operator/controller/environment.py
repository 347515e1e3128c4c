"""A program's settings, from environment variables that begin with its own prefix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self, TypeVar

from pydantic_core import ValidationError


class SettingsError(ValueError):
    """A setting is wrong; the message names its environment variable."""


class _Model(Protocol):
    """What pydantic's models are here for."""

    @classmethod
    def model_validate(cls, obj: Any) -> Self: ...


M = TypeVar("M", bound=_Model)


def from_environment(model: type[M], prefix: str, environ: Mapping[str, str]) -> M:
    """A `model` of all variables that begin with `prefix`. Raises SettingsError for an unknown or a bad one."""
    values = {k.removeprefix(prefix).lower(): v for k, v in environ.items() if k.startswith(prefix)}
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{prefix}{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise SettingsError(problems) from error
