"""Renders pages as HTML: the templates, their helper functions, and the addresses of assets."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from change_history.query.transactions import name_of
from watcher.web.pages import event_rows, links, values
from watcher.words import times
from watcher.words.value_text import number, printable, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from change_history.stored.event import Event
    from watcher.web.pages.page_request import Page
    from watcher.web.pages.tree import Node

_HERE = Path(__file__).parent
_STATIC = _HERE.parent / "static"
_SPARK_HEIGHT, _SPARK_STEP = 20, 5

_SHARED = ("name", "size", "who")
"""Names of both a page's data and a helper: in templates, the page's data is `name_`, and so on."""


def html(page: Page, *, here: str | None = None, can_leave: bool = False) -> str:
    """Render a page.

    Args:
        here: the entry of the header's navigation that is the current page.
        can_leave: whether the visitor is logged in, and so can log out.
    """
    shown = dict(page.shows)
    for name in _SHARED:
        if name in shown:
            shown[f"{name}_"] = shown.pop(name)
    shown.setdefault("ns", None)
    return _environment().get_template(page.template).render(here=here, can_leave=can_leave, **shown)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        url=links.address,
        static=_static,
        iso=_iso,
        clock=_clock,
        who=event_rows.who,
        gap_of=event_rows.gap_of,
        of_event=links.of_event,
        of_transaction=links.of_transaction,
        transaction_name=name_of,
        name=values.name,
        key=values.key,
        identity=values.identity,
        plain=values.plain,
        size=values.size,
        words=words,
        number=number,
        printable=printable,
        printable_lines=_printable_lines,
        path_name=links.path_name,
        plain_path=lambda path: printable(event_rows.field_text(path))[:80],
        part_of=_part_of,
        sparkline=_sparkline,
    )
    return environment


@cache
def _static(name: str) -> str:
    """The path of an asset below the root, with its digest as the query, so that caches see a new version."""
    digest = blake2b((_STATIC / name).read_bytes(), digest_size=4).hexdigest()
    return f"static/{name}?{digest}"


def _iso(event: Event) -> str | None:
    """The time of an event in ISO 8601; None: it is beyond the calendar."""
    when = event.timestamp
    if not isinstance(when, datetime):
        return None
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _clock(event: Event) -> str:
    """The time of an event in UTC, for display."""
    when = event.timestamp
    if not isinstance(when, datetime):
        return times.of_event(event, UTC)
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.") + f"{when.microsecond // 1000:03d} UTC"


def _printable_lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))


def _part_of(address: str, node: Node, start: int = 0) -> str:
    """The address of a part of a document."""
    path = links.path_text(node.path)
    if len(path) > links.LONGEST_PATH:
        return address.replace("document/part", "document/raw")
    more = links.query(path=path, **({"from": start} if start else {}))
    return address + ("&" if "?" in address else "?") + more


def _sparkline(counts: Sequence[int], label: str) -> Markup:
    """Counts as a bar chart, an inline SVG."""
    most = max([*counts, 1])
    bars = Markup("").join(
        Markup('<rect x="{}" y="{}" width="4" height="{}"/>').format(at * _SPARK_STEP, _SPARK_HEIGHT - height, height)
        for at, count in enumerate(counts)
        for height in (max(round(count / most * _SPARK_HEIGHT), 1 if count else 0),)
        if height
    )
    return Markup(
        '<svg class="spark" role="img" aria-label="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">{}</svg>'
    ).format(label, len(counts) * _SPARK_STEP, _SPARK_HEIGHT, bars)
