"""The format of a response: JSON or JSON lines, values relaxed or canonical, by the header `Accept`."""

from __future__ import annotations

from contextlib import aclosing
from hashlib import blake2b
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.responses import Response, StreamingResponse

from change_history.http import wire
from watcher.web import problems
from watcher.web.access import Holding

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator

    from starlette.requests import Request

JSON, NDJSON = "application/json", "application/x-ndjson"
_LINES_BYTES = 64 * 1024
_DIGEST_BYTES = 16


class Representation(NamedTuple):
    """The format that the client accepts.

    Attributes:
        canonical: whether values keep their types.
    """

    media_type: str
    canonical: bool

    @property
    def content_type(self) -> str:
        """The header."""
        return f"{self.media_type}; mode=canonical" if self.canonical else self.media_type


class Item(NamedTuple):
    """One item of a list, and the cursor that continues after it."""

    tree: Any
    after: str


def representation_of(request: Request, *, lists: bool) -> Representation:
    """Choose one by the header `Accept`: `application/json; mode=canonical` has values in canonical Extended JSON.

    Args:
        lists: the answer can be given line by line.

    Raises:
        watcher.web.problems.Problem: none of what is accepted can be given.
    """
    best: tuple[float, Representation] | None = None
    for part in (request.headers.get("accept") or "*/*").split(","):
        media_type, *parameters = (piece.strip().lower() for piece in part.split(";"))
        said = dict(piece.replace(" ", "").partition("=")[::2] for piece in parameters)
        offered = (
            NDJSON if media_type == NDJSON and lists else JSON if media_type in {JSON, "application/*", "*/*"} else None
        )
        try:
            quality = float(said.get("q", "1"))
        except ValueError:
            continue
        if offered is None or quality <= 0 or said.get("mode", "canonical").strip('"') not in {"canonical", "relaxed"}:
            continue
        if best is None or quality > best[0]:
            best = quality, Representation(offered, said.get("mode", "").strip('"') == "canonical")
    if best is None:
        offers = f"{JSON} or {NDJSON}" if lists else JSON
        raise problems.Problem(
            HTTPStatus.NOT_ACCEPTABLE,
            "not-acceptable",
            f"accept {offers}, with mode=canonical for values that keep their types",
        )
    return best[1]


def whole(tree: Any, representation: Representation) -> bytes:
    """A response that is one JSON object."""
    return (wire.dumps(tree, canonical=representation.canonical) + "\n").encode()


def page(items: Iterable[Item], representation: Representation, limit: int, most_bytes: int) -> bytes:
    """A page of a list: `items`, and `next`, the cursor of the next page; null: there is none.

    Args:
        most_bytes: size in bytes after which the page ends.
    """
    written: list[str] = []
    size, after, following = 0, "", None
    for item in items:
        if len(written) == limit or size >= most_bytes:
            following = after
            break
        text = wire.dumps(item.tree, canonical=representation.canonical)
        written.append(text)
        size += len(text)
        after = item.after
    body = f'{{"items": [{", ".join(written)}], "next": {wire.dumps(following, canonical=False)}}}\n'
    return body.encode()


def lines(items: Iterable[Item], representation: Representation) -> Iterator[bytes]:
    """A list as JSON lines, in chunks."""
    piece = bytearray()
    for item in items:
        piece += wire.dumps(item.tree, canonical=representation.canonical).encode() + b"\n"
        if len(piece) >= _LINES_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def respond(request: Request, body: bytes, representation: Representation) -> Response:
    """The response, or 304 if the client has it already (`If-None-Match`)."""
    tag = f'W/"{blake2b(body, digest_size=_DIGEST_BYTES).hexdigest()}"'
    headers = {"etag": tag, "vary": "Accept, Authorization, Cookie"}
    known = [each.strip() for each in request.headers.get("if-none-match", "").split(",")]
    if tag in known or tag.removeprefix("W/") in known or "*" in known:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(body, headers=headers, media_type=representation.content_type)


async def streamed(request: Request, pieces: AsyncGenerator[bytes, None], representation: Representation) -> Response:
    """An answer of any length. It begins with the first piece, so what is wrong until then is said as a problem.

    What goes wrong later cuts the connection: a chunked answer without its end is not taken for the whole.
    """
    access = Holding(request)
    first = await anext(pieces, b"")
    headers = {"vary": "Accept, Authorization, Cookie"}
    if request.method == "HEAD":
        await pieces.aclose()
        return Response(media_type=representation.content_type, headers=headers)

    async def all_of_them() -> AsyncGenerator[bytes, None]:
        async with aclosing(pieces):
            yield first
            async for piece in pieces:
                if not access.holds():
                    raise problems.no_access()
                yield piece

    return StreamingResponse(all_of_them(), media_type=representation.content_type, headers=headers)
