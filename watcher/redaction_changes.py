"""Records a change of the redaction rules in the history of each collection concerned, before the daemon continues.

The rules that a stream was last recorded with are stored in its checkpoint. Entries before the position are redacted by
the former rules, entries after it by the new ones.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from bson import Binary, DatetimeMS
from pymongo import WriteConcern
from pymongo.errors import OperationFailure

from change_history.bson.values import CODEC
from change_history.redaction_rules import Rule, fingerprint
from change_history.stored.amendments import AmendmentKind, note
from change_history.stored.names import CHECKPOINTS, HISTORY
from change_history.stored.operations import REDACTION
from watcher.errors import Verdict, classify
from watcher.targets.namespaces import collections_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pymongo import MongoClient
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from watcher.leadership.fence import Fence
    from watcher.stream.batch import Position
    from watcher.targets.scope import Scope

log = structlog.get_logger(__name__)

FIELD = "redaction"
"""Field of a checkpoint: the rules that the stream is recorded with."""
_MAJORITY = WriteConcern("majority")
_MILLISECONDS = 1000


class Rules(NamedTuple):
    """The rules of a stream.

    Attributes:
        texts: each rule as in the settings.
        fingerprint: fingerprint of the rules and their key; None: there are no rules.
    """

    texts: tuple[str, ...]
    fingerprint: str | None

    @classmethod
    def of(cls, rules: Sequence[Rule], key: bytes | None) -> Rules:
        """The rules of the settings."""
        return cls(tuple(map(str, rules)), fingerprint(rules, key) if rules else None)

    def about(self, namespace: str) -> list[str]:
        """The rules that concern a namespace."""
        return [text for text in self.texts if Rule.parse(text).concerns(namespace)]


class Redactions:
    """Records in history which rules a stream is recorded with.

    Args:
        fence: writes under the leader's term.
        scope: what the stream watches.
        rules: the rules of the settings.
    """

    def __init__(
        self, watched: MongoClient[Any], history: Database[Any], fence: Fence, scope: Scope, rules: Rules
    ) -> None:
        self._watched = watched
        self._database = history
        self._history = history.get_collection(HISTORY, write_concern=_MAJORITY)
        self._checkpoints = history.get_collection(CHECKPOINTS, write_concern=_MAJORITY, codec_options=CODEC)
        self._fence = fence
        self._scope = scope
        self._rules = rules

    def say(self, position: Position) -> None:
        """Record the changes of the rules since the last run. Idempotent.

        Args:
            position: from where on the stream is recorded with the present rules.

        Raises:
            watcher.leadership.lease.DeposedError: the term is over; nothing was changed.
        """
        mine = {"_id": self._fence.stream}
        found = (self._checkpoints.find_one(mine, {FIELD: 1}) or {}).get(FIELD) or {}
        former = Rules(tuple(found.get("rules", ())), found.get("fingerprint"))
        if former.fingerprint == self._rules.fingerprint:
            return
        entries = list(self._entries(former, position))
        if entries:
            note(self._database, AmendmentKind.LATE, [entry["_id"] for entry in entries])
            self._fence.run(lambda session: self._store(entries, session))
        said = {"rules": list(self._rules.texts), "fingerprint": self._rules.fingerprint}
        self._fence.term.require(
            self._checkpoints.update_one(self._fence.term.of(mine["_id"]), {"$set": {FIELD: said}})
        )
        log.warning(
            "other rules of redaction from here on; what is recorded before stays as it is",
            rules=",".join(self._rules.texts) or "none",
            formerly=",".join(former.texts) or "none",
            remedy="`watcher erase NS ID --field PATH` removes what was recorded before" if self._rules.texts else None,
        )

    def _store(self, entries: Sequence[dict[str, Any]], session: ClientSession | None) -> None:
        for entry in entries:
            self._history.replace_one({"_id": entry["_id"]}, entry, upsert=True, session=session)

    def _entries(self, former: Rules, position: Position) -> Iterator[dict[str, Any]]:
        for namespace in sorted(self._namespaces(former)):
            now, before = self._rules.about(namespace), former.about(namespace)
            if not now and not before:
                continue
            named = "\0".join((REDACTION, self._fence.stream, namespace, self._rules.fingerprint or ""))
            yield {
                "_id": Binary(position.cluster_time.prefix + blake2b(named.encode(), digest_size=8).digest()),
                "namespace": namespace,
                "operation": REDACTION,
                "timestamp": DatetimeMS(position.seconds * _MILLISECONDS),
                "cluster_time": position.cluster_time.timestamp,
                "changes": [],
                "description": {
                    "stream": self._fence.stream,
                    "rules": now,
                    "formerly": before,
                    **({"fingerprint": self._rules.fingerprint} if self._rules.fingerprint is not None else {}),
                },
            }

    def _namespaces(self, former: Rules) -> set[str]:
        """The watched collections that exist; if they cannot be listed, those that the rules name."""
        try:
            return set(collections_in(self._watched, self._scope))
        except OperationFailure as error:
            if classify(error) is Verdict.TRANSIENT:
                raise
            named = {Rule.parse(text).namespace for text in (*self._rules.texts, *former.texts)}
            return {name for name in named if not set("*?[") & set(name)}
