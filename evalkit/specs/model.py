"""The strict base of every spec, and the kinds of value that specs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["File", "Name", "Spec"]

_INNER = r"""/\\\x00-\x1f\x7f#\[\]<>:"|?*"""  # what file systems reserve; [ ] # are for grids and seeds
_OUTER = _INNER + r"\s."  # "." and ".." are folders, and Windows drops a last space or dot

Name = Annotated[
    str,
    Field(
        max_length=80,
        pattern=rf"^[^{_OUTER}]([^{_INNER}]*[^{_OUTER}])?$",
        description='a name of at most 80 characters without / \\ # [ ] < > : " | ? * or a space or dot at its ends',
    ),
]
"""A name that can be a folder on any system, and that leaves ``[…]`` and ``#`` to grids and seeds."""

File = Annotated[Path, Field(strict=False, description="a path")]
"""A path as written in a YAML; the loader makes it absolute, from the YAML's own folder."""


class Spec(BaseModel):
    """A strict, frozen model: unknown keys, wrong types, NaN and infinity are errors, never ignored or
    converted."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        validate_default=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    @classmethod
    def shorthand(cls, data: Any) -> Any:
        """Turn a short form, such as a bare name, into the mapping it stands for; other values pass
        unchanged."""
        return data

    @model_validator(mode="before")
    @classmethod
    def _expand_shorthand(cls, data: Any) -> Any:
        return cls.shorthand(data)
