"""Names of fields as people type them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from watcher.cli.parsing.parse import Type

if TYPE_CHECKING:
    import click

_EVERYTHING_BELOW = ".*"
_ELEMENT = re.compile(r"\.\$(\[[^\]]*\])?(?=\.|$)|\[[^\]]*\]")


class Field(Type[str]):
    """A field on the command line. `address.*` is `address`: a field always means what is below it, too."""

    name = "field"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002
        """Read it."""
        return str(value).removesuffix(_EVERYTHING_BELOW) or str(value)


def of_element(field: str) -> str | None:
    """What to type instead of a field that names elements as `diff` and `stats` print them, `lines[_id: 2].qty`.

    To be said only where nothing was found: a key may have any name.
    """
    found = _ELEMENT.search(field)
    if found is None or not found.start():
        return None
    return (
        f"{field} names elements of an array as they are printed; --field takes the array, {field[: found.start()]}, "
        f"or in `watcher log` an index, {_ELEMENT.sub('.0', field)}."
    )
