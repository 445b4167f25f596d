"""REST under `/api/v1`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.applications import Starlette
    from starlette.requests import Request

    from watcher.web.asking import Asker


def routes() -> list[Route]:
    """The routes of the API."""
    return [Route("/api/v1/collections", _collections)]


@asynccontextmanager
async def lifespan(application: Starlette) -> AsyncIterator[None]:
    """What runs beside the requests."""
    del application
    yield


async def _collections(request: Request) -> Response:
    asker: Asker = request.app.state.asker
    names = await asker.ask(request, lambda history: history.namespaces())
    return JSONResponse({"items": [{"namespace": name} for name in names]})
