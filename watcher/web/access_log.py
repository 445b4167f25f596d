"""The access log: a line of JSON for every request that read documents, and for every one that was refused."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

from change_history.bson import extended_json

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request


class AccessLog:
    """A file to which lines are appended, each one before its response is sent.

    The file is reopened when it was replaced, so it can be rotated.

    Args:
        path: path of the file; created if missing, readable only by its owner.

    Raises:
        OSError: it cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._file = self._opened()

    def note(self, request: Request, documents: list[tuple[str, Any]]) -> None:
        """Log the documents that a request reads, if any.

        Raises:
            OSError: it cannot be written; then the response must not be sent.
        """
        if documents:
            self._write(request, documents=[[namespace, _exact(each)] for namespace, each in documents])

    def refused(self, request: Request, status: int) -> None:
        """Log a refused request.

        Raises:
            OSError: it cannot be written.
        """
        self._write(request, status=status)

    def _write(self, request: Request, **said: Any) -> None:
        visitor = getattr(request.state, "visitor", None)
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "visitor": visitor.name if visitor is not None else None,
            "address": getattr(request.state, "address", None),
            "method": request.method,
            "path": request.scope["path"],
            "query": request.scope["query_string"].decode("ascii", "replace"),
            **said,
        }
        data = (json.dumps(line) + "\n").encode()
        with self._lock:
            if not self._is_in_place():
                os.close(self._file)
                self._file = self._opened()
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]

    def _is_in_place(self) -> bool:
        try:
            there, ours = self._path.stat(), os.fstat(self._file)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _opened(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _exact(document_id: Any) -> Any:
    return json.loads(extended_json.dumps(document_id))
