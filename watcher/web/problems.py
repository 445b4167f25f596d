"""Error responses: problem details (RFC 9457) for programs, a page for people.

All errors are classified here. A response never contains a server's message or a traceback.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import structlog
from pymongo.errors import ConnectionFailure, ExecutionTimeout, NetworkTimeout, PyMongoError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from change_history.query.transactions import AmbiguousTransactionError, UnknownTransactionError
from change_history.reconstruct.filters import FilterError
from change_history.reconstruct.point_in_time import NoSuchVersionError
from change_history.reconstruct.state import UnknownStateError
from change_history.stored.chunks import MissingChunkError
from watcher.errors import Verdict, classify, name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
_RETRY_S = "5"


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """A request that cannot be answered.

    Args:
        status: of the answer.
        kind: what kind of problem it is, in few words; the end of its `type`.
        detail: what is wrong with this request, and what to do; None: there is no more to say.
        headers: of the answer.
        more: members of the problem details beyond those of RFC 9457.
    """

    def __init__(
        self,
        status: HTTPStatus,
        kind: str,
        detail: str | None = None,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail or kind)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = dict(more or {})


def no_access() -> Problem:
    """The request is not authenticated."""
    return Problem(
        HTTPStatus.UNAUTHORIZED,
        "no-access",
        "a valid token is needed: Authorization: Bearer … (in Python token=…)",
        {"WWW-Authenticate": "Bearer"},
    )


def not_found() -> Problem:
    """The data does not exist, or the visitor may not read it: the same response for both."""
    return Problem(HTTPStatus.NOT_FOUND, "not-found", "nothing is recorded of this")


def wrong_request(detail: str) -> Problem:
    """The request is not valid."""
    return Problem(HTTPStatus.BAD_REQUEST, "wrong-request", detail)


def too_costly(seconds: float) -> Problem:
    """The request takes too long."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "too-costly",
        f"the answer takes longer than {seconds:g} s; ask for less: one document, one field, a window of time, less",
    )


def busy() -> Problem:
    """There are too many requests at once."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE, "busy", "too many requests at once; try again", {"Retry-After": _RETRY_S}
    )


def problem_of(error: Exception, seconds: float) -> Problem:  # noqa: PLR0911 - a table
    """Classify an error.

    Args:
        seconds: time limit of a response in seconds.
    """
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        headers = dict(error.headers or {})
        status = HTTPStatus(error.status_code)
        return not_found() if status == HTTPStatus.NOT_FOUND else Problem(status, _kind(status), None, headers)
    if isinstance(error, NoSuchVersionError):
        return Problem(HTTPStatus.NOT_FOUND, "no-such-version", str(error), more={"versions": error.count})
    if isinstance(error, UnknownTransactionError):
        return not_found()
    if isinstance(error, AmbiguousTransactionError):
        return wrong_request(f"{error}; write more of it")
    if isinstance(error, UnknownStateError):
        return Problem(HTTPStatus.CONFLICT, "unknown-state", f"history cannot tell: {error.reason}")
    if isinstance(error, MissingChunkError):
        return Problem(HTTPStatus.CONFLICT, "unknown-state", "history cannot tell: a part of a large event is missing")
    if isinstance(error, FilterError):
        return wrong_request("the server refuses the filter")
    if isinstance(error, PyMongoError):
        return _of_driver(error, seconds)
    log.error("a request could not be answered", exc_info=error)
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "unexpected", "this is a fault of the server; its log says more")


def _of_driver(error: PyMongoError, seconds: float) -> Problem:
    # The time limit may be reported by the server or by the driver; an unreachable deployment is another problem.
    if isinstance(error, ExecutionTimeout | NetworkTimeout) or (
        error.timeout and not isinstance(error, ConnectionFailure)
    ):
        return too_costly(seconds)
    log.warning("the history does not answer", error=name_of(error))
    away = classify(error) is Verdict.TRANSIENT or isinstance(error, ConnectionFailure)
    detail = "the history does not answer at the moment" if away else "the history refuses to answer; see the log"
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail, {"Retry-After": _RETRY_S})


def _kind(status: HTTPStatus) -> str:
    return status.phrase.lower().replace(" ", "-")


def response(problem: Problem) -> Response:
    """The answer to a program."""
    body: dict[str, Any] = {
        "type": f"urn:mongo-change-watcher:problem:{problem.kind}",
        "title": problem.status.phrase,
        "status": int(problem.status),
    }
    if problem.detail is not None:
        body["detail"] = problem.detail
    body |= problem.more
    return Response(
        json.dumps(body, ensure_ascii=True) + "\n", problem.status, headers=problem.headers, media_type=MEDIA_TYPE
    )
