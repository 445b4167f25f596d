"""As-of, diff and blame against what a real server had, for random histories of documents and collections.

``WATCHER_TEST_AS_OF_EXAMPLES`` is the number of histories, ``WATCHER_TEST_AS_OF_SEED`` makes them the same again.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from bson import Timestamp
from hypothesis import HealthCheck, Phase, given, seed, settings
from pymongo import MongoClient

from change_history import ABSENT, Change
from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.image import Image
from change_history.bson.values import to_raw
from change_history.reader import Reader
from change_history.reconstruct import fold
from change_history.reconstruct.lineage import ENDS
from change_history.stored.changes import decode
from tests.support.generated.collections import NAMES, World, id_of, lineages, python_id
from tests.support.json_patch import patched
from tests.support.recording import Recording

if TYPE_CHECKING:
    from change_history.blame.recorded import Leaf
    from tests.support.generated.operations import Operation

EXAMPLES = int(os.environ.get("WATCHER_TEST_AS_OF_EXAMPLES", "8"))
SEED = os.environ.get("WATCHER_TEST_AS_OF_SEED")
SHRINK = os.environ.get("WATCHER_TEST_AS_OF_SHRINK") == "1"
PHASES = [Phase.explicit, Phase.reuse, Phase.generate, *([Phase.shrink] if SHRINK else [])]


def before(time: bytes) -> Timestamp:
    """The cluster time one tick earlier."""
    tick = int.from_bytes(time, "big") - 1
    return Timestamp(tick >> 32, tick & 0xFFFFFFFF)


class Asked:
    """A history, asked in every way, and compared with what the server had."""

    def __init__(self, world: World, name: str, history: Reader) -> None:
        self._world = world
        self._name = name
        self._history = history

    def check(self) -> None:
        """Everything."""
        moments = self._world.moments
        times_of_events = sorted({_time(event) for event in self._world.events})
        following = dict(pairwise([*times_of_events, None]))
        for moment in moments:
            later = following[moment.time]
            times = [moment.time.timestamp, later.just_before.timestamp if later is not None else None]
            for name, documents in moment.collections.items():
                for at in times:
                    found = list(self._history.collection(f"{self._name}.{name}", at).documents())
                    assert [told.unknown for told in found if told.unknown] == []
                    assert {id_of(told.data): told.data for told in found if told.data} == documents, (name, at)
        for name in NAMES:
            self._check_documents(name)
        self._check_differences()

    def _check_documents(self, name: str) -> None:
        namespace = f"{self._name}.{name}"
        ever = [moment.collections.get(name, {}) for moment in self._world.moments]
        for key in set().union(*ever):
            document_id = python_id(key)
            for moment in self._world.moments:
                if name not in moment.collections:
                    continue
                document = moment.collections[name].get(key)
                told = self._history.as_of(namespace, document_id, moment.time.timestamp)
                assert (to_raw(told)[1] if told is not None else None) == document
            self._check_versions(namespace, key)

    def _check_versions(self, namespace: str, key: bytes) -> None:
        """Each version is what there was after its event; its number is found again; its leaves make it."""
        document_id = python_id(key)
        entries = [e for e in self._world.events if _is_about(e, namespace, key)]
        states: list[bytes | None] = []
        for number, entry in enumerate(entries, 1):
            state = self._history.state(namespace, document_id, number)
            assert state.entry is not None
            assert (bytes(state.entry.id), state.version) == (raw.fields(entry)[b"_id"][1][5:], number)
            assert self._history.state(namespace, document_id, number - len(entries) - 1).data == state.data
            following = entries[number] if number < len(entries) else None
            if following is not None and _time(following) == _time(entry):  # the server shows only the last of them
                after = self._history.state(namespace, document_id, number + 1).data
                assert after == fold.fold(state.data, [following])
            else:
                assert self._history.state(namespace, document_id, _time(entry).timestamp).data == state.data
            states.append(state.data)
            if state.document is not None:
                leaves = self._history.blame_leaves(namespace, document_id, number)
                assert rebuilt(leaves) == to_raw(state.document)
                if _begins(entries[0]) and not self._turned_since(entries[0]):
                    check_blame(leaves, entries, states)
        with pytest.raises(LookupError, match=r"there is|there are|no version"):
            self._history.as_of(namespace, document_id, len(entries) + 1)

    def _turned_since(self, entry: bytes) -> bool:
        """Whether some collection has been dropped or renamed since."""
        fields = [raw.fields(event) for event in self._world.events[self._world.events.index(entry) :]]
        return any(raw.text_of(found[b"operation"]).decode() in ENDS for found in fields)

    def _check_differences(self) -> None:
        for one, other in pairwise(self._world.moments[::3]):
            for name in one.collections.keys() & other.collections.keys():
                self._check_difference(name, one, other)
                self._check_difference(name, other, one)

    def _check_difference(self, name: str, one: Any, other: Any) -> None:
        namespace, a, b = f"{self._name}.{name}", one.time.timestamp, other.time.timestamp
        old, new = one.collections[name], other.collections[name]
        both = {key: (old.get(key), new.get(key)) for key in old.keys() | new.keys()}
        different = {key: pair for key, pair in both.items() if pair[0] != pair[1]}
        found = list(self._history.collection_diff(namespace, a, b))
        assert {bytes((item.raw_id[0],)) + item.raw_id[1]: (item.before, item.after) for item in found} == different
        for key, (before_, after) in different.items():
            document_id = python_id(key)
            assert patched(before_, self._history.differences(namespace, document_id, a, b)) == after
            assert applied(before_, self._history.diff(namespace, document_id, a, b), gone=after is None) == after


def _begins(entry: bytes) -> bool:
    """Whether a document came into being by an entry; by a rename it comes with what was set under another name."""
    return raw.text_of(raw.fields(entry)[b"operation"]) in {b"insert", b"baseline"}


def check_blame(leaves: list[Leaf], entries: list[bytes], states: list[bytes | None]) -> None:
    """Outside of arrays, a leaf is of the last event that changed its value; within, of one that changed something."""
    ids = [raw.fields(entry)[b"_id"][1][5:] for entry in entries]
    for leaf in leaves:
        set_by = ids.index(bytes(leaf.event.id))
        before = states[set_by - 1] if set_by else None
        assert before != states[set_by]
        if any(isinstance(key, int) for key in leaf.path):
            continue
        path = tuple(key.encode("utf-8", "surrogateescape") for key in leaf.path if isinstance(key, str))
        values = [Image(data).get(path) if data is not None else None for data in states[max(set_by - 1, 0) :]]
        assert all(value == values[-1] for value in values[1 if set_by else 0 :])
        assert not set_by or values[0] != values[-1]


def rebuilt(leaves: list[Any]) -> raw.Value:
    """The document that leaves make."""
    root: dict[Any, Any] = {}
    for leaf in leaves:
        node = root
        for key in leaf.path[:-1]:
            node = node.setdefault(key, {})
        node[leaf.path[-1]] = leaf.value
    return to_raw(_built(root))


def _built(node: Any) -> Any:
    if not isinstance(node, dict) or not node:
        return node
    inner = {key: _built(value) for key, value in node.items()}
    return list(inner.values()) if all(isinstance(key, int) for key in inner) else inner


def applied(document: bytes | None, changes: list[Change], *, gone: bool) -> bytes | None:
    """Fold changes as an event."""
    if gone:
        return None
    found = [decode(to_raw(_stored(change))[1]) for change in changes]
    return fold.apply(document, fold.Entry(b"insert" if document is None else b"update", found, None))


def _time(entry: bytes) -> ClusterTime:
    return ClusterTime.from_payload(raw.fields(entry)[b"cluster_time"][1])


def _is_about(entry: bytes, namespace: str, key: bytes) -> bool:
    fields = raw.fields(entry)
    document_id = fields.get(b"document_id")
    return raw.text_of(fields[b"namespace"]) == namespace.encode() and document_id == (key[0], key[1:])


@pytest.mark.timeout(0)
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
def test_as_of_is_what_the_server_had(replica_set_uri: str) -> None:
    """At every event and between, across drop, re-creation, rename, rename onto, `$out` and conversion to capped."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with MongoClient[dict[str, Any]](replica_set_uri) as client, Recording(client, name) as recording:
        world = World(client, name, recording)

        @settings(
            max_examples=EXAMPLES,
            phases=PHASES,
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(lineages())
        def holds(wanted: list[Operation]) -> None:
            world.begin()
            for operation in wanted:
                world.run(operation)
            with Reader.connect(replica_set_uri, recording.history.name) as history:
                Asked(world, name, history).check()

        try:
            (seed(int(SEED))(holds) if SEED else holds)()
        finally:
            client.drop_database(name)


def _stored(change: Change) -> dict[str, Any]:
    """A change as it would stand in history."""
    found = {field.name: getattr(change, field.name) for field in fields(change)}
    kept = ("old_value", "new_value")  # None is a value in these
    return {name: value for name, value in found.items() if value is not ABSENT and (value is not None or name in kept)}
