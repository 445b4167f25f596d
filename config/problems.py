"""Explains what is wrong with the settings, in the operator's terms, all at once."""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from config.fields import Allowed
from config.sources import Gathered
from config.uri import MASK

_URI = re.compile(r"mongodb(\+srv)?://[^'\"]*")
_MAX_SHOWN = 80  # characters of a wrong value


def explain(error: ValidationError, model: type[BaseSettings], gathered: Gathered) -> Iterator[str]:
    """Turn pydantic's findings into sentences.

    Yields:
        One sentence for each wrong setting.
    """
    seen = set()
    for item in error.errors(include_url=False, include_input=False):
        name = str(item["loc"][0])
        if name in seen:  # a union reports each of its members
            continue
        seen.add(name)
        field = model.model_fields.get(name)
        if field is None:
            yield f"--{name.replace('_', '-')} is no setting"
            continue
        shown = "" if is_secret(field) else f" = {_shorten(gathered.values[name])}"
        cause = item.get("ctx", {}).get("error")
        said = str(cause) if is_secret(field) else _masked(str(cause))  # of a secret it repeats nothing by itself
        detail = f" ({said})" if cause else ""
        yield f"{gathered.origins[name].written}{_masked(shown)}: must be {allowed(field)}{detail}"


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting's value must never be shown."""
    return "SecretStr" in repr(field.annotation) or field.annotation is SecretStr


def allowed(field: FieldInfo) -> str:
    """Say what may be written, as the end of "must be …".

    Returns:
        For example ``a whole number from 1 to 100000``.
    """
    annotation = field.annotation
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return "one of " + ", ".join(annotation)
    limits: dict[str, Any] = {}
    for item in _metadata(field):
        if isinstance(item, Allowed):
            return item.text
        limits |= {key: getattr(item, key) for key in ("ge", "le") if hasattr(item, key)}
    return f"a whole number from {limits['ge']} to {limits['le']}"


def _metadata(field: FieldInfo) -> Iterator[Any]:
    """The annotations of a field, also those inside ``X | None``."""
    yield from field.metadata
    for member in getattr(field.annotation, "__args__", ()):
        yield from getattr(member, "__metadata__", ())


def _masked(text: str) -> str:
    """Hide connection strings: one that was given as another setting may hold a password all the same."""
    return _URI.sub(MASK, text)


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"
