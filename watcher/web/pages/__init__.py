"""The HTML pages under `/`.

A page is a function of a `PageRequest`: one request, with the history that its visitor may read. It runs in a thread.
No page writes anything.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from watcher.web import problems
from watcher.web.access import COOKIE
from watcher.web.pages import (
    blame,
    compare,
    document,
    links,
    lists,
    parts,
    references,
    rejected,
    render,
    seals,
    search,
    start,
)
from watcher.web.pages.page_request import MovedPage, Page, PageRequest, PlainText

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request

    from watcher.web.access import Access
    from watcher.web.executor import Asker
    from watcher.web.pages.page_request import Answer
    from watcher.web.pages.references import Reference
    from watcher.web.problems import Problem
    from watcher.web.visible import VisibleHistory

_MOST_LOGIN_BYTES = 4096
_TITLES = {
    HTTPStatus.FORBIDDEN: "You may not read this",
    HTTPStatus.NOT_FOUND: "Nothing is recorded of this",
    HTTPStatus.BAD_REQUEST: "This cannot be read",
    HTTPStatus.SERVICE_UNAVAILABLE: "This cannot be answered at the moment",
    HTTPStatus.CONFLICT: "History cannot tell",
}
_NOT_FOUND = "Or you may not read it. Look at the collections for what there is."


def routes() -> list[Route]:
    """The routes of the pages."""
    counts = start.CollectionActivity()

    def first(look: PageRequest) -> Answer:
        return start.page(look, counts)

    made: dict[str, Callable[[PageRequest], Answer]] = {
        "/": first,
        "/search": search.page,
        "/collection": lists.collection,
        "/collection/deleted": lists.deleted,
        "/document": document.page,
        "/document/part": parts.part,
        "/document/blame": blame.cards,
        "/document/raw": parts.whole,
        "/document/compare": compare.page,
        "/across": search.across,
        "/value": parts.value,
        "/event": document.event,
        "/transaction": lists.transaction,
        "/actor": lists.actor,
        "/actors": lists.actors,
        "/follow": lists.live,
        "/gaps": lists.gaps,
        "/rejected": rejected.page,
        "/seals": seals.page,
    }
    return [
        *(Route(path, _endpoint(page, _HEADINGS.get(path)), methods=["GET"]) for path, page in made.items()),
        Route("/login", login, methods=["GET", "POST"], name="login"),
        Route("/logout", logout, methods=["POST"], name="logout"),
    ]


_HEADINGS = {
    "/": "start",
    "/follow": "live",
    "/actors": "actors",
    "/gaps": "gaps",
    "/rejected": "rejected",
    "/seals": "seals",
}


def _endpoint(page: Callable[[PageRequest], Answer], here: str | None) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        asker: Asker = request.app.state.asker
        params = dict(request.query_params)
        known = _references(request)
        root = request.scope.get("root_path", "")
        can_leave = COOKIE in request.cookies

        def work(history: VisibleHistory) -> Response:
            links.ROOT.set(root)
            found = page(PageRequest(params, history, history.reader, known))
            match found:
                case Page():
                    return HTMLResponse(render.html(found, here=here, can_leave=can_leave), found.status)
                case PlainText(text, media_type):
                    return Response(text.encode("utf-8", "replace"), media_type=f"{media_type}; charset=utf-8")
                case MovedPage(address):
                    return RedirectResponse(address, HTTPStatus.SEE_OTHER)

        return await asker.ask(request, work)

    return answer


def _references(request: Request) -> Sequence[Reference]:
    return tuple(map(references.read, request.app.state.settings.references))


async def problem(request: Request, problem: Problem) -> Response:
    """The error page, which says why a request cannot be answered."""
    title = _TITLES.get(problem.status, problem.status.phrase)
    detail = _NOT_FOUND if problem.status == HTTPStatus.NOT_FOUND else (problem.detail or "")
    shown = {"title": title, "detail": detail[:1].upper() + detail[1:]}
    links.ROOT.set(request.scope.get("root_path", ""))
    page = Page("problem.html", shown, problem.status)
    return HTMLResponse(render.html(page, can_leave=COOKIE in request.cookies), problem.status, problem.headers)


async def login(request: Request) -> Response:
    """Ask for a token, and store it in a cookie."""
    access: Access = request.app.state.access
    root = request.scope.get("root_path", "")
    wrong = False
    if request.method == "POST":
        _require_own_form(request)
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > _MOST_LOGIN_BYTES:
                break
        token = parse_qs(body.decode("latin-1")).get("token", [""])[0].strip()
        if access.of_token(token) is not None:
            wanted = request.query_params.get("next", "/")
            local = wanted if wanted.startswith("/") and not wanted.startswith(("//", "/\\")) else "/"
            answer = RedirectResponse(root + local, HTTPStatus.SEE_OTHER)
            answer.set_cookie(
                COOKIE, token, httponly=True, samesite="strict", secure=access.is_secure(request), path=root or "/"
            )
            return answer
        wrong = True
    links.ROOT.set(root)
    status = HTTPStatus.UNAUTHORIZED if wrong else HTTPStatus.OK
    return HTMLResponse(render.html(Page("login.html", {"wrong": wrong})), status)


def _require_own_form(request: Request) -> None:
    """Refuse a form that another site submits (CSRF): it would log the visitor out, or in with another token.

    Raises:
        watcher.web.problems.Problem: another site submitted it.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise problems.Problem(HTTPStatus.FORBIDDEN, "not-allowed", "this form is not of these pages; open them first")


async def logout(request: Request) -> Response:
    """Remove the token's cookie."""
    _require_own_form(request)
    root = request.scope.get("root_path", "")
    answer = RedirectResponse(f"{root}/login", HTTPStatus.SEE_OTHER)
    answer.delete_cookie(COOKIE, path=root or "/")
    return answer
