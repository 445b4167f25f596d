"""What is answered to whom: each path, its status and its body. Never anything out of a document."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from watcher.health.metrics import Metrics

if TYPE_CHECKING:
    from watcher.health.progress import Progress


class Answer(NamedTuple):
    """An answer, ready to be sent."""

    status: HTTPStatus
    content_type: str
    body: bytes


class Answers:
    """Answers three questions about the daemon.

    `/live`: should it be left running? `/ready`: can the history be relied on to be up to date, or this daemon to take
    over from the one that leads; and if not, why?
    `/metrics`: what has it done so far?

    Args:
        progress: what has been done.
        stream: the name of the stream.
    """

    def __init__(self, progress: Progress, stream: str) -> None:
        self._progress = progress
        self._stream = stream
        self._metrics = Metrics(progress, stream)
        self._paths = {"/live": self._live, "/ready": self._ready, "/metrics": self._exposition}

    def to(self, target: str, accept: str) -> Answer:
        """Answer a request.

        Args:
            target: the path as it was asked for, with its query, which changes nothing.
            accept: the header `Accept`.

        Returns:
            The answer; 404 for any other path.
        """
        found = self._paths.get(urlsplit(target).path)
        return found(accept) if found else as_json(HTTPStatus.NOT_FOUND, error="not found", paths=list(self._paths))

    def _live(self, _accept: str) -> Answer:
        live, reasons = self._progress.judgement()
        return as_json(_status(fine=live), live=live, **({} if live else {"reasons": reasons}))

    def _ready(self, _accept: str) -> Answer:
        progress = self._progress
        judgement = progress.judgement()
        return as_json(
            _status(fine=judgement.ready),
            ready=judgement.ready,
            role=progress.role,
            led_by=progress.owner,
            reasons=judgement.reasons,
            stream=self._stream,
            events=progress.events,
            waiting=progress.waiting,
            lag_seconds=progress.lag_s,
            checkpoint_age_seconds=progress.checkpoint_age_s,
        )

    def _exposition(self, accept: str) -> Answer:
        body, content_type = self._metrics.exposition(accept)
        return Answer(HTTPStatus.OK, content_type, body)


def as_json(status: HTTPStatus, **facts: Any) -> Answer:
    """Make an answer of one JSON object.

    Args:
        status: the HTTP status.
        facts: the object.
    """
    return Answer(status, "application/json", json.dumps(facts).encode() + b"\n")


def _status(*, fine: bool) -> HTTPStatus:
    return HTTPStatus.OK if fine else HTTPStatus.SERVICE_UNAVAILABLE
