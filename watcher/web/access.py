"""Who is let in: the first thing that happens to a request, before anything is looked up.

Without authentication, only this machine is served, and only under its own names: a page from elsewhere whose name was
made to point here (DNS rebinding) names another host. With it, a request shows a bearer token, a browser the same token
in a cookie, or a trusted proxy names the user that it has signed on. Whoever shows nothing that holds is told so in
the same words, whatever was asked for.
"""

from __future__ import annotations

from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse

from watcher.web import problems
from watcher.web.settings import is_loopback
from watcher.web.tokens import TokensFile
from watcher.web.visitors import Visitor, everything

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from watcher.web.access_log import AccessLog
    from watcher.web.settings import WebSettings

COOKIE = "watcher_token"
"""What keeps a browser's token."""

PROBES = frozenset({"/live", "/ready"})
"""What an orchestrator asks for, at an address that it chooses."""

PUBLIC = PROBES | {"/login", "/logout"}
"""Paths that say nothing of the history; nor does what is below `STATIC`."""

STATIC = "/static/"

_BEARER = "bearer "
_LOOK_S = 1.0
"""So long at most is somebody told what they may not read any more."""
_OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Access:
    """Decides who asks.

    Raises:
        watcher.web.tokens.TokensError: the tokens file cannot be used.
    """

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings
        self._tokens = TokensFile(settings.tokens) if settings.tokens is not None else None

    def visitor(self, request: Request) -> Visitor | None:
        """Who asks; None: nobody who may read."""
        if not self._settings.authenticates:
            return everything("anybody")
        shown = request.headers.get("authorization")
        if shown is not None:
            known = shown[: len(_BEARER)].lower() == _BEARER
            return self.of_token(shown[len(_BEARER) :].strip()) if known else None
        header, peer = self._settings.user_header, request.client.host if request.client else None
        if header is not None and self._settings.trusts(peer):
            named = request.headers.getlist(header)
            if len(named) == 1 and named[0]:
                return self._of_user(named[0])
        cookie = request.cookies.get(COOKIE)
        return self.of_token(cookie) if cookie else None

    def of_token(self, token: str) -> Visitor | None:
        """Who shows a token; None: nobody who may read."""
        return self._tokens.of_token(token) if self._tokens is not None else None

    def _of_user(self, name: str) -> Visitor | None:
        """Without a file, whoever the proxy signs on may read everything."""
        return self._tokens.of_user(name) if self._tokens is not None else everything(name)

    def is_expected_host(self, host: str) -> bool:
        """Whether a request names a host by which this application is known."""
        named = {name.lower() for name in self._settings.allowed_hosts}
        if not named and not is_loopback(self._settings.host):
            return True
        allowed = named | {*_OWN_NAMES, self._settings.host.lower()}
        return _without_port(host.lower()) in allowed

    def address(self, request: Request) -> str | None:
        """Where a request comes from: what a trusted proxy says, else the other end of the connection."""
        peer = request.client.host if request.client else None
        if not self._settings.trusts(peer):
            return peer
        for said in reversed(request.headers.get("x-forwarded-for", "").split(",")):
            peer = said.strip() or peer
            if not self._settings.trusts(peer):
                break
        return peer

    def is_secure(self, request: Request) -> bool:
        """Whether the client speaks TLS, as far as can be told."""
        peer = request.client.host if request.client else None
        if self._settings.trusts(peer) and "x-forwarded-proto" in request.headers:
            return request.headers["x-forwarded-proto"].strip().lower() == "https"
        return request.url.scheme == "https"


class Holding:
    """Tells whether whoever is answered may still read what they might when they asked; looks once a second at most."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._access: Access = request.app.state.access
        self._again = monotonic() + _LOOK_S

    def holds(self) -> bool:
        """Whether the answer may go on."""
        now = monotonic()
        if now < self._again:
            return True
        self._again = now + _LOOK_S
        visitor: Visitor = self._request.state.visitor
        return self._access.visitor(self._request) == visitor


class AccessMiddleware:
    """Lets in who may read, as `request.state.visitor`; answers everybody else."""

    def __init__(self, app: ASGIApp, access: Access, access_log: AccessLog | None) -> None:
        self._app = app
        self._access = access
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        request.state.address = self._access.address(request)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path not in PROBES and not self._access.is_expected_host(request.headers.get("host", "")):
            problem = problems.Problem(
                HTTPStatus.MISDIRECTED_REQUEST, "unexpected-host", "this host name is not served here"
            )
            await problems.response(problem)(scope, receive, send)
            return
        if path in PUBLIC or path.startswith(STATIC):
            await self._app(scope, receive, send)
            return
        visitor = self._access.visitor(request)
        if visitor is not None:
            request.state.visitor = visitor
            await self._app(scope, receive, send)
            return
        if self._access_log is not None:
            self._access_log.refused(request, HTTPStatus.UNAUTHORIZED)
        if path.startswith("/api/") or request.method not in {"GET", "HEAD"}:
            await problems.response(problems.no_access())(scope, receive, send)
            return
        query = scope["query_string"].decode("latin-1")
        wanted = quote(path + (f"?{query}" if query else ""), safe="")
        login = RedirectResponse(f"{scope.get('root_path', '')}/login?next={wanted}", HTTPStatus.SEE_OTHER)
        await login(scope, receive, send)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host
