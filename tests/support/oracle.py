"""What should have been recorded: a plain change stream beside the daemon, and the comparison of the two."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

import bson
from bson import CodecOptions
from bson.raw_bson import RawBSONDocument

from change_history.bson import raw
from change_history.bson.image import Image
from change_history.bson.paths import read_dotted
from change_history.bson.values import document_to_python, to_raw
from change_history.reconstruct import fold
from change_history.stored.chunks import whole
from tests.support.daemon import eventually

if TYPE_CHECKING:
    from bson import Timestamp
    from pymongo import MongoClient
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from tests.support.daemon import Daemon

RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


class PlainStream:
    """Records the events of one database with pymongo's own `watch`, from entering the block on.

    Its events are kept as raw documents, with pre-images, as the server sent them.
    """

    def __init__(self, client: MongoClient[Any], database: str) -> None:
        self.events: list[bytes] = []
        self._stream = client.get_database(database, codec_options=RAW).watch(
            full_document_before_change="whenAvailable", show_expanded_events=True, max_await_time_ms=100
        )
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def _listen(self) -> None:
        while not self._end.is_set():
            event = self._stream.try_next()
            if event is not None:
                self.events.append(bytes(event.raw))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._stream.close()


def token_of(event: bytes) -> bytes:
    """The resume token of an event, as history keeps it."""
    return bytes.fromhex(document_to_python(event)["_id"]["_data"])


def history(database: Database[Any], query: dict[str, Any]) -> list[bytes]:
    """Stored history in the order of the stream, raw."""
    stored = database.get_collection("history", codec_options=RAW).find(query)
    found = [bytes(whole(database, item).raw) for item in stored]
    return sorted(found, key=_place)


def _place(stored: bytes) -> tuple[bytes, bool, bytes]:
    """Cluster time, then the token's bytes; what has no token is no event of the stream, and comes after them."""
    fields = raw.fields(stored)
    token = fields.get(b"resume_token")
    return fields[b"_id"][1][5:13], token is None, token[1][5:] if token is not None else b""


def entry(stored: bytes) -> dict[str, Any]:
    """A stored history document as Python objects."""
    return document_to_python(stored)


def compare(events: list[bytes], recorded: list[bytes]) -> None:
    """Fail unless the history is that of the events: none missing, none twice, in order, every value right."""
    expected, found = [token_of(event) for event in events], [entry(item)["resume_token"] for item in recorded]
    assert len(found) == len(set(found)), "an event was recorded twice"
    assert set(found) == set(expected), (
        f"{len(set(expected) - set(found))} events were not recorded, {len(set(found) - set(expected))} never happened"
    )
    assert found == expected, "the history is not in the order of the stream"
    for event, item in zip(events, recorded, strict=True):
        compare_one(event, item)


def compare_one(event: bytes, stored: bytes) -> None:
    """Fail unless every field that the event reports is there with its right old and new value."""
    happened = raw.fields(event)
    operation = raw.text_of(happened[b"operationType"]).decode()
    kept = entry(stored)
    assert kept["operation"] == operation
    if operation != "update":
        return
    changes = [raw.fields(payload) for _, payload in raw.items(raw.fields(stored)[b"changes"][1])]
    described = document_to_python(happened[b"updateDescription"][1])
    before = Image(happened[b"fullDocumentBeforeChange"][1])
    assert len(changes) == sum(len(described[part]) for part in ("updatedFields", "removedFields", "truncatedArrays"))
    for field, value in described["updatedFields"].items():
        assert any(
            raw.text_of(change[b"field"]).decode() == field
            and change.get(b"new_value") == to_raw(value)
            and change.get(b"old_value") == before.get(_path(change))
            for change in changes
        ), f"{field} is not recorded rightly"
    for field in described["removedFields"]:
        assert any(
            raw.text_of(change[b"field"]).decode() == field
            and b"new_value" not in change
            and change[b"old_value"] == before.get(_path(change))
            for change in changes
        ), f"the removal of {field} is not recorded rightly"
    for cut in described["truncatedArrays"]:
        assert any(
            raw.text_of(change[b"field"]).decode() == cut["field"]
            and int.from_bytes(change[b"truncated_to"][1], "little") == cut["newSize"]
            and change[b"old_value"] == before.get(_path(change))
            for change in changes
            if b"truncated_to" in change
        ), f"the truncation of {cut['field']} is not recorded rightly"


def _path(change: dict[bytes, raw.Value]) -> tuple[bytes | int, ...]:
    if b"path" not in change:
        return read_dotted(raw.text_of(change[b"field"]))
    return tuple(key.encode() if isinstance(key, str) else key for key in bson_list(change[b"path"]))


def bson_list(value: raw.Value) -> list[Any]:
    """An array value as a list."""
    decoded = bson.decode(raw.from_fields([(b"v", value)]))["v"]
    assert isinstance(decoded, list)
    return decoded


def folded(recorded: list[bytes]) -> dict[tuple[str, bytes], bytes | None]:
    """Every document that history knows, as folding its entries gives it; None: deleted."""
    state: dict[tuple[str, bytes], bytes | None] = {}
    for item in recorded:
        fields = raw.fields(item)
        if b"document_id" in fields:
            kind, payload = fields[b"document_id"]
            key = raw.text_of(fields[b"namespace"]).decode(), bytes((kind,)) + payload
            state[key] = fold.fold(state.get(key), [item])
    return state


def live(database: Database[Any]) -> dict[tuple[str, bytes], bytes]:
    """Every document of a database as the server has it, raw."""
    found = {}
    for name in database.list_collection_names():
        for document in database.get_collection(name, codec_options=RAW).find():
            data = bytes(document.raw)
            kind, payload = raw.fields(data)[b"_id"]
            found[f"{database.name}.{name}", bytes((kind,)) + payload] = data
    return found


END = "end of the test"


def both_have_ended(daemon: Daemon, plain: PlainStream, database: Database[Any]) -> None:
    """Write a last document, and wait until history and the plain stream have everything up to it.

    Its collection has pre-images from the beginning: else the daemon would switch them on, which is an event after the
    last, and one of the two might have it already and the other not yet.
    """
    database.create_collection(END, changeStreamPreAndPostImages={"enabled": True})
    database[END].insert_one({"_id": END})
    daemon.recorded(f"{database.name}.{END}", END)
    token = entry(history(daemon.database, {"document_id": END})[-1])["resume_token"]
    eventually(lambda: any(token_of(event) == token for event in plain.events[-3:]), "the plain stream's end")
    events = {"resume_token": {"$exists": True}}
    eventually(lambda: daemon.database.history.count_documents(events) >= len(plain.events), "all events")


def settled(daemon: Daemon, plain: PlainStream, database: Database[Any]) -> list[bytes]:
    """Wait for a last write and compare history with a plain stream, and its folding with the live documents.

    Returns:
        The history of the database in the order of the stream, without that last write.
    """
    both_have_ended(daemon, plain, database)
    recorded = history(daemon.database, {"operation": {"$ne": "baseline"}})
    compare(plain.events, recorded)
    whole = history(daemon.database, {})
    documents = {key: data for key, data in folded(whole).items() if data is not None}
    assert documents == live(database)
    return [stored for stored in recorded if entry(stored).get("namespace") != f"{database.name}.{END}"]


def entries_of(recorded: list[bytes]) -> list[dict[str, Any]]:
    """History of documents."""
    return [each for each in map(entry, recorded) if "document_id" in each]


def belongs_to(entry: dict[str, Any]) -> tuple[bytes, int] | None:
    """Session and number."""
    transaction = entry.get("transaction")
    return (bytes(transaction["session"]["id"]), transaction["number"]) if transaction else None


def last_of(session: ClientSession) -> tuple[bytes, int]:
    """Session and number of the transaction that a session has run last."""
    return bytes(session.session_id["id"]), session._server_session.transaction_id


def oplog_entries(client: MongoClient[Any], session: ClientSession) -> list[Timestamp]:
    """Of the transaction that a session has run last."""
    query = {"lsid.id": session.session_id["id"], "txnNumber": session._server_session.transaction_id}
    return [entry["ts"] for entry in client.local["oplog.rs"].find(query, {"ts": 1})]
