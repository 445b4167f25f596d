"""REST under `/api/v1`."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from watcher.web.api import collections, cursors, documents, events, following, openapi, parameters, recording
from watcher.web.api.endpoint import Asked, Endpoint
from watcher.web.api.representation import NDJSON, lines, page, representation_of, respond, streamed, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from watcher.web.executor import Asker
    from watcher.web.visible import VisibleHistory

_ROOT = "/api/v1"

ENDPOINTS = (*collections.ENDPOINTS, *documents.ENDPOINTS, *events.ENDPOINTS, *recording.ENDPOINTS)


def routes() -> list[Route]:
    """The routes of the API."""
    return [
        Route(f"{_ROOT}/openapi.json", _description),
        Route(f"{_ROOT}/follow", following.follow),
        *(Route(_ROOT + _typed(each), _answering(each)) for each in ENDPOINTS),
    ]


@asynccontextmanager
async def lifespan(application: Starlette) -> AsyncIterator[None]:
    """What runs beside the requests: one follower of the history, for all that follow it over HTTP."""
    asker: Asker = application.state.asker
    hub = following.Hub(asker.reader)
    application.state.hub = hub
    try:
        yield
    finally:
        hub.close()


def _typed(endpoint: Endpoint) -> str:
    path = endpoint.path
    for each in endpoint.parameters:
        path = path.replace(f"{{{each.name}}}", f"{{{each.name}:segment}}")
    return path


def _answering(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        representation = representation_of(request, lists=endpoint.lists)
        given = parameters.read(request, endpoint.all_parameters)
        asked = Asked(given, cursors.check_of(request.scope["path"], request.query_params.multi_items()))
        asker: Asker = request.app.state.asker
        if representation.media_type == NDJSON:

            def items(history: VisibleHistory) -> Iterator[bytes]:
                found = endpoint.work(history, asked)
                return lines(islice(found, given.get("limit")), representation)

            return await streamed(request, asker.stream(request, items), representation)

        def write(history: VisibleHistory) -> bytes:
            found: Any = endpoint.work(history, asked)
            if endpoint.lists:
                return page(found, representation, given.get("limit", 100), asker.limits.bytes)
            return whole(found, representation)

        key = (request.state.visitor, representation, request.scope["path"], request.scope["query_string"])
        return respond(request, await asker.ask_together(request, key, write, slow=endpoint.slow), representation)

    return answer


async def _description(request: Request) -> Response:
    representation = representation_of(request, lists=False)
    parameters.read(request, ())
    said = openapi.description(ENDPOINTS, following.PARAMETERS, request.scope.get("root_path", ""))
    return respond(request, json.dumps(said).encode(), representation)
