"""What verification finds, and its report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.values import to_python
from change_history.seals import records

if TYPE_CHECKING:
    from change_history.seals.seal import Seal


class Finding(NamedTuple):
    """One deviation from what was sealed.

    Attributes:
        what: its kind: `changed`, `removed`, `added`, `moved`, `seal`, `outside`, `value`, `document`.
        id: `_id` of the event, 16 bytes; None: it is about no single event.
        seal: number of the seal that it contradicts; None: none.
        namespace: `db.coll`; None: not known.
        document_id: the document's `_id`; None: not known.
    """

    what: str
    said: str
    id: bytes | None = None
    seal: int | None = None
    namespace: str | None = None
    document_id: raw.Value | None = None

    @property
    def cluster_time(self) -> ClusterTime | None:
        """The event's cluster time; None: it is about no single event."""
        return ClusterTime.from_id(self.id) if self.id is not None else None

    def document(self) -> dict[str, Any]:
        """The finding as a document, without what is not known."""
        time = self.cluster_time
        found = {
            "what": self.what,
            "said": self.said,
            "event": self.id.hex() if self.id is not None else None,
            "cluster_time": time.timestamp if time is not None else None,
            "seal": self.seal,
            "namespace": self.namespace,
        }
        known = {name: value for name, value in found.items() if value is not None}
        return known | ({"document_id": to_python(self.document_id)} if self.document_id is not None else {})


def about(what: str, said: str, entry_id: bytes, entry: bytes | None, seal: int | None = None) -> Finding:
    """A finding about an event, with what its entry says of it."""
    fields = raw.readable(entry) if entry is not None else {}
    kind, payload = fields.get(b"namespace", (0, b""))
    namespace = payload[4:-1].decode("utf-8", "replace") if kind == raw.STRING else None
    return Finding(what, said, entry_id, seal, namespace, fields.get(b"document_id"))


@dataclass
class Report:
    """The outcome of a verification.

    Attributes:
        findings: what is wrong, the oldest event first.
        last: the last seal; None: there is none.
        entries: how many entries were compared with what was sealed.
        kinds: how many records of each kind are sealed (`records.NAMES`).
        unsealed: entries that no seal covers yet.
        first_unsealed: cluster time of the first of them.
        amended: entries that were changed as a note announces, and are not sealed anew yet.
        keys: public keys that seals are signed with.
        unsigned: how many seals are not signed.
        remarks: other messages for the user.
        documents: how many documents were compared with what their history says; None: it was not asked for.
    """

    findings: list[Finding] = field(default_factory=list)
    last: Seal | None = None
    digest: str = ""
    seals: int = 0
    entries: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    unsealed: int = 0
    first_unsealed: ClusterTime | None = None
    amended: int = 0
    keys: list[str] = field(default_factory=list)
    unsigned: int = 0
    remarks: list[str] = field(default_factory=list)
    documents: int = 0

    def count(self, packed: bytes) -> None:
        """Count concatenated records by kind."""
        for kind, number in Counter(packed[16 :: records.RECORD_BYTES]).items():
            self.kinds[records.NAMES.get(bytes([kind]), "unknown")] += number

    def not_sealed(self, entry_id: bytes) -> None:
        """Count an entry that no seal covers yet."""
        time = ClusterTime.from_id(entry_id)
        self.unsealed += 1
        self.first_unsealed = min(self.first_unsealed or time, time)
