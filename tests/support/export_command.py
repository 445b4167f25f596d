"""`watcher export` as a process, and history for it, written down as the daemon would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from bson import Timestamp

from models import ABSENT, ChangeModel, HistoryModel
from tests.support.daemon import PATIENCE_S
from tests.support.recording import make_indexes

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.database import Database

PROGRAM = [sys.executable, "-m", "watcher", "export"]
START = 1_700_000_000


def numbered_event(number: int, document_id: Any = 1, **values: Any) -> Any:
    """One history document; two events a second, three to a cluster time."""
    token = number.to_bytes(4, "big")
    moment = Timestamp(START + number // 6, 1 + number % 6 // 3)
    about = {"namespace": "shop.users", "operation": "update"} | values
    return HistoryModel(
        id=moment.time.to_bytes(4, "big") + moment.inc.to_bytes(4, "big") + blake2b(token, digest_size=8).digest(),
        document_id=document_id,
        timestamp=moment.as_datetime(),
        cluster_time=moment,
        changes=[ChangeModel(field=field, old_value=ABSENT, new_value=[number] * 20) for field in ("a", "b")],
        resume_token=token,
        **about,
    ).to_mongo()


def environment(database: Database[Any], uri: str) -> dict[str, str]:
    """What the program finds in its environment."""
    make_indexes(database)
    return os.environ | {"WATCHER_HISTORY_URI": uri, "WATCHER_HISTORY_DATABASE": database.name}


class Export:
    """Runs the command to its end.

    Args:
        environment: what it finds in its environment.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def __call__(self, *arguments: Any, **more: str) -> subprocess.CompletedProcess[str]:
        """Run it; `more` are environment variables that win."""
        command, environment = [*PROGRAM, *map(str, arguments)], self.environment | more
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S)

    def start(self, *arguments: Any, **options: Any) -> subprocess.Popen[str]:
        """Start it without waiting; `options` are those of `Popen`."""
        return subprocess.Popen([*PROGRAM, *map(str, arguments)], env=self.environment, text=True, **options)


def describe_part_file(file: Path, **about: str) -> None:
    """Say what is in the part of a file, as an export does that is killed later."""
    usual = {"namespace": "shop.users", "id": "", "format": "ndjson", "rows": "events", "since": "", "until": ""}
    file.with_name(f"{file.name}.part.json").write_text(json.dumps(usual | about))
