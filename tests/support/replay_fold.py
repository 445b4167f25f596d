"""Every event recorded, folded, and compared with the truth; what cannot be told is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from change_history.bson import raw
from change_history.reconstruct import fold
from change_history.reconstruct.fold import DoesNotApplyError
from tests.support.replay_events import (
    NOT_KNOWN,
    Difference,
    described_fields,
    id_of,
    in_order,
    is_bare,
    is_ordinary,
    moment_of,
    names_in,
    operation_of,
    post_image,
    same,
)
from tests.support.replay_values import check_decoding, check_new_values, check_old_values
from watcher.events import record
from watcher.events.event import DOCUMENT_OPERATIONS

if TYPE_CHECKING:
    from collections import Counter

    from tests.support.replay_events import Key, Snapshots


class Folded:
    """The documents as history has them, event by event."""

    def __init__(self, counts: Counter[str], untold: Counter[str], examples: dict[str, str]) -> None:
        self._counts = counts
        self._untold = untold
        self._examples = examples
        self._doubts: dict[Key, list[bytes]] = {}
        self._lost: set[Key] = set()
        self.resync: set[Key] = set()
        self.state: dict[Key, bytes] = {}

    def start(self, baseline: dict[Key, bytes]) -> None:
        """Forget everything but the documents there are."""
        self.state = baseline
        self._doubts, self._lost, self.resync = {}, set(), set()

    def check(
        self, events: list[bytes], truths: list[bytes], snapshots: Snapshots
    ) -> list[tuple[Key, bytes, bytes | None]]:
        """Record and fold every event and compare with the truth.

        Returns:
            Of each event on a document: the document, its history, and the document before.
        """
        assert [raw.fields(event)[b"_id"] for event in events] == [raw.fields(truth)[b"_id"] for truth in truths]
        recorded: list[tuple[Key, bytes, bytes | None]] = []
        moments = [moment_of(truth) for truth in truths]
        last = {moment: number for number, moment in enumerate(moments)}
        last_of = {
            (moment, id_of(key[1])): number
            for number, (moment, key) in enumerate((moment_of(t), raw.fields(t).get(b"documentKey")) for t in truths)
            if key is not None
        }
        for number, (event, truth) in enumerate(zip(events, truths, strict=True)):
            stored = record.record(event)
            if stored != record.record(bytes(bytearray(event))):
                raise Difference("recorded twice, two histories", event, stored)
            check_decoding(event, stored)
            fields, moment = raw.fields(truth), moments[number]
            if operation_of(fields) not in DOCUMENT_OPERATIONS:
                continue
            key = moment[1], id_of(fields[b"documentKey"][1])
            recorded.append((key, stored, self.state.get(key)))
            is_last = last[moment] == number
            exact = last_of[moment, key[1]] == number
            if exact:
                after = snapshots[moment].get(key)
                self._counts["post-images that are not the document"] += post_image(fields) not in (None, after)
            else:
                after = None if operation_of(fields) == b"delete" else (post_image(fields) or NOT_KNOWN)
            self._check_one(key, event, stored, after, exact=exact)
            if is_last:
                mine = {other: data for other, data in self.state.items() if other[0] == moment[1]}
                if mine != snapshots[moment] and not self._doubts:
                    raise Difference("the collection at that time", event, stored)
        return recorded

    def _check_one(self, key: Key, event: bytes, stored: bytes, after: bytes | None, *, exact: bool) -> None:
        """Fold one event; the state is then what the server has.

        Args:
            key: the document.
            event: as the listener delivered it.
            stored: its history.
            after: the document after it, or `NOT_KNOWN`.
            exact: `after` is what the server stored; else a post-image, whose fields may be in another order.
        """
        before = self.state.get(key)
        if is_ordinary(event):
            self._doubts.setdefault(key, []).append(event)
        if key not in self._lost:
            check_old_values(event, stored, before)
        try:
            folded = fold.fold(before, [stored])
        except DoesNotApplyError as error:
            self._tolerate(key, None, None, Difference(f"does not apply: {error}", event, stored, before=before))
            folded = NOT_KNOWN
        if after is NOT_KNOWN:
            if folded is NOT_KNOWN:
                self._lost.add(key)
            else:
                self._keep(key, folded)
            return
        if folded is not NOT_KNOWN and not same(folded, after, exact=exact):
            found = Difference("another document", event, stored, before=before, folded=folded, server=after)
            self._tolerate(key, folded, after, found)
        elif key not in self._doubts and key not in self._lost:
            check_new_values(event, stored, before, after)
        keep = folded if not exact and folded is not NOT_KNOWN and same(folded, after, exact=False) else after
        self._keep(key, keep)
        if exact:
            self._doubts.pop(key, None)
        self._lost.discard(key)

    def _keep(self, key: Key, document: bytes | None) -> None:
        if document is None:
            self.state.pop(key, None)
        else:
            self.state[key] = document

    def _tolerate(self, key: Key, folded: bytes | None, after: bytes | None, found: Difference) -> None:
        """Let pass, and count, only what an ordinary description without images cannot tell.

        Raises:
            Difference: it could be told.
        """
        doubts = self._doubts.get(key, [])
        if not doubts:
            raise found
        self.resync.add(key)
        if key in self._lost:
            return
        before = self.state.get(key)
        if folded is None or after is None:
            why = "refused to fold"
        elif in_order(folded) == in_order(after):
            why = "silently another order of fields"
        else:
            why = "silently another field"
        bare = [event for event in doubts if is_bare(event)]
        dotted = any(
            b"." in name and name in field for name in names_in(before, after) for field in described_fields(bare)
        )
        told = {
            "silently another order of fields": False,
            "silently another field": not dotted,
            "refused to fold": not any(b"." in field for field in described_fields(bare)),
        }
        if told[why]:
            raise found
        self._untold[why] += 1
        self._examples.setdefault(why, str(found))
