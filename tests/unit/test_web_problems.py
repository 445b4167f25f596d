"""What a request is told when it cannot be answered: never a traceback, a server's words, or a secret."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest
from pymongo.errors import (
    AutoReconnect,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    ServerSelectionTimeoutError,
)

from change_history import (
    FilterError,
    MissingChunkError,
    NoSuchVersionError,
    UnknownStateError,
    UnknownTransactionError,
)
from watcher.web import problems


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (NoSuchVersionError(9, 3), 404, "no-such-version"),
        (UnknownTransactionError("no transaction ab:1 is recorded"), 404, "not-found"),
        (UnknownStateError("shop.cards", "a reason", "ann"), 409, "unknown-state"),
        (MissingChunkError("secret"), 409, "unknown-state"),
        (FilterError("the server refuses secret"), 400, "wrong-request"),
        (ExecutionTimeout("operation exceeded time limit, secret"), 503, "too-costly"),
        (NetworkTimeout("secret: timed out"), 503, "too-costly"),
        (ServerSelectionTimeoutError("secret: No servers found"), 503, "unavailable"),
        (AutoReconnect("secret"), 503, "unavailable"),
        (OperationFailure("not authorized on secret", 13), 503, "unavailable"),
        (RuntimeError("secret"), 500, "unexpected"),
    ],
)
def test_every_error_has_its_status_and_no_words_of_others(error: Exception, status: int, kind: str) -> None:
    """A message of the server may hold values of documents, or name what may not be read."""
    problem = problems.problem_of(error, 20)
    body = bytes(problems.response(problem).body)

    assert (problem.status, problem.kind) == (status, kind)
    assert b"secret" not in body
    assert b"shop.cards" not in body
    said = json.loads(body)
    assert (said["status"], said["title"]) == (status, HTTPStatus(status).phrase)
    assert said["type"].endswith(f":{kind}")
