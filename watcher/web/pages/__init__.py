"""The pages under `/`."""

from __future__ import annotations

from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from watcher.web.access import COOKIE

if TYPE_CHECKING:
    from starlette.requests import Request

    from watcher.web.access import Access
    from watcher.web.asking import Asker
    from watcher.web.problems import Problem

_MOST_LOGIN_BYTES = 4096


def routes() -> list[Route]:
    """The routes of the pages."""
    return [
        Route("/", start, name="start"),
        Route("/login", login, methods=["GET", "POST"], name="login"),
        Route("/logout", logout, methods=["POST"], name="logout"),
    ]


async def problem(request: Request, problem: Problem) -> Response:
    """The page that says why a request cannot be answered."""
    del request
    said = f"<h1>{problem.status.phrase}</h1><p>{escape(problem.detail or '')}</p>"
    return HTMLResponse(_page(problem.status.phrase, said), problem.status, problem.headers)


async def start(request: Request) -> Response:
    """What is recorded."""
    asker: Asker = request.app.state.asker
    names = await asker.ask(request, lambda history: history.namespaces())
    rows = "".join(f"<li>{escape(name)}</li>" for name in names)
    return HTMLResponse(_page("History", f"<h1>History</h1><ul>{rows}</ul>"))


async def login(request: Request) -> Response:
    """Ask for a token, and keep it in a cookie."""
    access: Access = request.app.state.access
    wrong = ""
    if request.method == "POST":
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > _MOST_LOGIN_BYTES:
                break
        token = parse_qs(body.decode("latin-1")).get("token", [""])[0].strip()
        if access.of_token(token) is not None:
            wanted = request.query_params.get("next", "/")
            local = wanted if wanted.startswith("/") and not wanted.startswith(("//", "/\\")) else "/"
            answer = RedirectResponse(request.scope.get("root_path", "") + local, HTTPStatus.SEE_OTHER)
            answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=access.is_secure(request))
            return answer
        wrong = "<p>This token does not hold.</p>"
    form = '<form method="post"><label>Token <input name="token" type="password"></label> <button>Enter</button></form>'
    status = HTTPStatus.UNAUTHORIZED if wrong else HTTPStatus.OK
    return HTMLResponse(_page("Enter", f"<h1>Enter</h1>{wrong}{form}"), status)


async def logout(request: Request) -> Response:
    """Forget the token."""
    answer = RedirectResponse(f"{request.scope.get('root_path', '')}/login", HTTPStatus.SEE_OTHER)
    answer.delete_cookie(COOKIE)
    return answer


def _page(title: str, body: str) -> str:
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><body>{body}'
