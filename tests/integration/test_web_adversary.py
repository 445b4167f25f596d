"""Who would read more than they may, or make `watcher serve` work for nobody: on a real server."""

from __future__ import annotations

import base64
import json
import time
from http.client import HTTPConnection, IncompleteRead
from typing import TYPE_CHECKING, Any

import pytest
from bson import Binary, json_util

from tests.support.daemon import eventually
from tests.support.recording import Recording
from tests.support.web import Served, bearer
from watcher.web.api import cursors
from watcher.web.tokens import hash_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pymongo import MongoClient

ORDERS, CARDS = "mcw_orders", "mcw_cards"
API = "/history/api/v1"
LINES = "application/x-ndjson"


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokens file."""
    return tmp_path_factory.mktemp("adversary") / "tokens.toml"


@pytest.fixture(scope="module")
def served(client: MongoClient[Any], replica_set_uri: str, tokens: Path) -> Iterator[Served]:
    """Cards and orders of one transaction, each for a token of its own, behind a root path."""
    name = f"adversary_{time.time_ns()}"
    shop = client[name]
    entries = [(ORDERS, f'"{name}.orders", "{name}.large"'), (CARDS, f'"{name}.cards"')]
    tokens.write_text(
        "\n".join(f'[[token]]\nname = "{token}"\nhash = "{hash_of(token)}"\nread = [{what}]' for token, what in entries)
    )
    with Recording(client, name) as recording:
        for each in ("orders", "cards", "large"):
            shop.create_collection(each)
        for number in range(4):
            with client.start_session() as session, session.start_transaction():
                shop.orders.insert_one({"_id": number, "card": "ann"}, session=session)
                shop.cards.insert_one({"_id": f"ann {number}", "number": "4111"}, session=session)
        shop.cards.insert_one({"_id": "ann"})
        recording.catch_up()
        with Served(
            tokens.parent / "log",
            uri=replica_set_uri,
            history_database=recording.history.name,
            serve_tokens=tokens,
            serve_root_path="/history",
            references=f"{name}.orders:card→{name}.cards",
        ) as running:
            running.watched = name
            running.recording = recording  # type: ignore[attr-defined]
            yield running
    client.drop_database(name)


def ids(client: MongoClient[Any], served: Served, collection: str) -> list[str]:
    """The ids of the events of a collection."""
    history = client[f"{served.watched}_history"].history
    found = history.find({"namespace": f"{served.watched}.{collection}", "operation": "insert"}).sort("_id")
    return [bytes(each["_id"]).hex() for each in found]


def test_other_methods_tell_and_cost_nothing_more(served: Served) -> None:
    """HEAD is GET without its body, also of what does not end; nothing else is answered."""
    for path in ("/collections", f"/collections/{served.watched}.cards", "/events", "/nothing", "/openapi.json"):
        got, head = (served.send(each, API + path, None, **bearer(ORDERS)) for each in ("GET", "HEAD"))
        assert (head.status, head.body) == (got.status, b""), path
        assert {**head.headers, "date": ""} == {**got.headers, "date": ""}, path
    for path, accept in (("/follow", "text/event-stream"), ("/events", LINES)):
        begun = time.monotonic()
        head = served.send("HEAD", API + path, None, **bearer(ORDERS), accept=accept)
        assert (head.status, head.body) == (200, b""), path
        assert head.headers["content-type"].startswith(accept)
        assert time.monotonic() - begun < 10
    assert served.send("HEAD", f"{API}/follow?namespace={served.watched}.cards", None, **bearer(ORDERS)).status == 404
    for method in ("OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE"):
        kinds = [
            served.send(method, f"{API}/collections/{served.watched}.{name}", None, **bearer(ORDERS))
            for name in ("orders", "cards", "cardz")
        ]
        assert {(each.status, each.body) for each in kinds} == {(405, kinds[0].body)}, method
        assert served.send(method, f"{API}/collections", None).status == 401, method
        assert "access-control-allow-origin" not in kinds[0].headers


def test_a_tag_of_another_s_answer_tells_nothing(served: Served) -> None:
    """What is not readable is not found, whatever the client says it has."""
    cards, orders = (f"{API}/collections/{served.watched}.{name}/events" for name in ("cards", "orders"))
    tag = served.get(cards, **bearer(CARDS)).headers["etag"]
    for known in (tag, "*", f'{tag}, W/"x"', '"' + "a" * 9000 + '"'):
        assert served.get(cards, **bearer(ORDERS), if_none_match=known).status == 404, known
    assert served.get(orders, **bearer(ORDERS), if_none_match=tag).status == 200
    shared = f"{API}/collections"
    theirs = served.get(shared, **bearer(CARDS)).headers["etag"]
    mine = served.get(shared, **bearer(ORDERS), if_none_match=theirs)
    assert mine.status == 200
    assert f"{served.watched}.cards" not in {each["namespace"] for each in mine.json["items"]}
    assert "Authorization" in mine.headers["vary"]
    assert served.get(shared, **bearer(ORDERS), if_none_match=mine.headers["etag"]).status == 304


def test_a_cursor_opens_nothing(client: MongoClient[Any], served: Served) -> None:
    """Neither another token's, nor one that was made up; and none is an error of ours."""
    for path in ("/events", "/collections", "/gaps", "/actors"):
        theirs = served.get(f"{API}{path}?limit=1", **bearer(CARDS)).json["next"]
        if theirs is not None:
            page = served.get(f"{API}{path}?cursor={theirs}", **bearer(ORDERS))
            assert page.status == 200
            assert b"ann 1" not in page.body
            assert b".cards" not in page.body
    hidden = bytes.fromhex(ids(client, served, "cards")[2])
    for path in ("/events", f"/collections/{served.watched}.orders/events", "/gaps", "/collections", "/actors"):
        for said in ([], [("order", "oldest")], [("since", "2020-01-01")]):
            query = "".join(f"&{name}={text}" for name, text in said)
            check = cursors.check_of(API + path, said)
            for forged in (
                hidden, hidden + b"\xff" * 40, hidden + b"8", b"\xff" * 16, b"\x00" * 16, b"\xff" * 8 + b"\x00" * 9,
                b"", b"\x80", b"x" * 5000,
            ):  # fmt: skip
                reply = served.get(f"{API}{path}?cursor={cursors._written(check, forged)}{query}", **bearer(ORDERS))
                assert reply.status in {200, 400, 410}, (path, said, forged, reply.body)
                assert b".cards" not in reply.body
    for made in ("A", "====", base64.b64encode(b"x" * 30).decode(), "%ff", "é"):
        wrong = served.get(f"{API}/events?cursor={made.encode().hex() if made == 'é' else made}", **bearer(ORDERS))
        assert wrong.status == 400, made


def test_the_time_of_an_event_does_not_betray_another_s(client: MongoClient[Any], served: Served) -> None:
    """A transaction's events share it; what begins so is looked for among the visible ones only."""
    orders, cards = ids(client, served, "orders"), ids(client, served, "cards")
    for mine, theirs in zip(orders, cards, strict=False):
        shared = mine[:16]
        assert shared == theirs[:16]
        for token, own in ((ORDERS, mine), (CARDS, theirs)):
            page = served.get(f"/history/search?q={shared}", **bearer(token))
            assert page.status == 200
            assert own.encode() in page.body, "its own event is named by the time"
            assert served.get(f"/history/event?id={shared}", **bearer(token)).status == 200
        assert served.get(f"/history/search?q={theirs}", **bearer(ORDERS)).body.count(theirs.encode()) <= 3
        assert served.get(f"/history/event?id={theirs}", **bearer(ORDERS)).status == 404


def test_search_and_references_stay_within_what_may_be_read(served: Served) -> None:
    """By `_id`, by value, and by what mentions a document."""
    for query in ("q={}&by=value", "q={}", "q={}&by=id"):
        for there, nowhere in (("4111", "4112"), ("ann-1", "ann-9")):
            asked = [
                served.get("/history/search?" + query.format(each.replace("-", "+")), **bearer(ORDERS))
                for each in (there, nowhere)
            ]
            assert asked[0].status == asked[1].status == 200
            one, none = (each.body.replace(b" ", b"-") for each in asked)
            assert one.replace(there.encode(), nowhere.encode()) == none, query
            assert b".cards" not in one
    for name in ("cards", "cardz"):
        assert served.get(f"/history/search?q=ann&ns={served.watched}.{name}", **bearer(ORDERS)).status == 404
    for token, name, other in ((ORDERS, "cards", "orders"), (CARDS, "orders", "cards")):
        page = served.get(f"/history/across?ns={served.watched}.{name}&id=ann", **bearer(token))
        missing = served.get(f"/history/across?ns={served.watched}.cardz&id=ann", **bearer(token))
        assert (page.status, missing.status) == (404, 404), (name, other)
    own = served.get(f"/history/across?ns={served.watched}.cards&id=ann", **bearer(CARDS))
    assert own.status == 200
    assert b".orders" not in own.body
    for name in ("changed_to", "changed_from"):
        found = served.get(f"{API}/events?{name}=%224111%22", **bearer(ORDERS))
        assert found.json["items"] == []
    assert served.get(f"{API}/events?changed_to=%224111%22", **bearer(CARDS)).json["items"]


def test_why_a_document_is_unknown_names_no_event_of_another_s(client: MongoClient[Any], served: Served) -> None:
    """An event that cannot be read may be anybody's: neither its id nor its time is told, wherever it matters."""
    identity = bytes(range(16))
    rejected = client[f"{served.watched}_history"].rejected
    rejected.insert_one({"_id": Binary(identity), "event": Binary(b"none"), "error": "none", "stream": "default"})
    ns = f"{served.watched}.orders"
    below = f"{API}/collections/{ns}"
    paths = [f"{below}{path}" for path in ("/documents", "/diff?from=2020-01-01", "/documents/1", "/documents/1/blame")]
    paths += [f"/history/document{view}ns={ns}&id=1" for view in ("?", "?view=blame&", "/blame?", "/compare?")]
    try:
        found = [served.get(path, **bearer(ORDERS)) for path in paths]
    finally:
        rejected.delete_one({"_id": Binary(identity)})
    assert sum(b"an event is missing" in reply.body for reply in found) >= 6
    for path, reply in zip(paths, found, strict=True):
        assert identity.hex().encode() not in reply.body, path
        assert reply.status < 500, path


def test_who_follows_hears_nothing_when_another_s_is_written(client: MongoClient[Any], served: Served) -> None:
    """An empty line for each event that is left out would count them, and tell when they were."""
    connection = HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request("GET", f"{API}/follow", headers=bearer(ORDERS))
    reply = connection.getresponse()
    assert [reply.readline(), reply.readline()] == [b"retry: 2000\n", b"\n"]
    for number in range(5):
        client[served.watched].cards.insert_one({"_id": f"unheard {number}"})
        served.recording.catch_up()  # type: ignore[attr-defined]
        time.sleep(0.2)
    client[served.watched].orders.insert_one({"_id": "heard"})
    served.recording.catch_up()  # type: ignore[attr-defined]

    assert reply.readline().startswith(b"id: ")
    connection.close()


def test_an_event_of_another_s_is_not_known_as_the_last_one(client: MongoClient[Any], served: Served) -> None:
    """Its id and one that was made up get the same, also while the server remembers it."""
    shop = client[served.watched]
    everything = HTTPConnection("127.0.0.1", served.port, timeout=20)
    everything.request("GET", f"{API}/follow", headers=bearer(CARDS))
    cards = everything.getresponse()
    with client.start_session() as session, session.start_transaction():
        shop.cards.insert_one({"_id": "followed"}, session=session)
        shop.orders.insert_one({"_id": "followed", "card": "x"}, session=session)
    shop.orders.insert_one({"_id": "after"})
    served.recording.catch_up()  # type: ignore[attr-defined]
    while not (line := cards.readline()).startswith(b"id: "):
        assert line
    hub, kind, hidden = line[4:].decode().strip().split("-")
    everything.close()
    assert hidden == ids(client, served, "cards")[-1]

    def after(event: str) -> list[str]:
        connection = HTTPConnection("127.0.0.1", served.port, timeout=20)
        headers = {**bearer(ORDERS), "last-event-id": f"{hub}-{kind}-{event}"}
        connection.request("GET", f"{API}/follow", headers=headers)
        reply = connection.getresponse()
        found: list[str] = []
        while len(found) < 2:
            line = reply.readline()
            assert line
            if line.startswith((b"id: ", b"data: ")):
                found.append(line.decode())
            if line.startswith(b"data: "):
                assert ".cards" not in line.decode()
        connection.close()
        return found

    made_up = hidden[:16] + "0" * 16
    assert after(hidden) == after(made_up)
    for nonsense in ("x", "-", f"{hub}-9-{hidden}", f"{hub}-1-{'f' * 32}", f"{hub}-1-{'g' * 32}", "٣" * 40):
        connection = HTTPConnection("127.0.0.1", served.port, timeout=20)
        connection.putrequest("GET", f"{API}/follow")
        connection.putheader("authorization", f"Bearer {ORDERS}")
        connection.putheader("last-event-id", nonsense.encode())
        connection.endheaders()
        assert connection.getresponse().status == 200, nonsense
        connection.close()


def test_a_document_of_16_mb_is_answered_and_breaks_nothing(client: MongoClient[Any], served: Served) -> None:
    """Whole, in every form."""
    large = f"{served.watched}.large"
    text = "x" * (16 * 1024 * 1024 - 64)
    client[served.watched].large.insert_one({"_id": 1, "v": text})
    served.recording.catch_up()  # type: ignore[attr-defined]
    document = served.get(f"{API}/collections/{large}/documents/1", **bearer(ORDERS))
    assert document.status == 200
    assert document.json["document"]["v"] == text
    assert served.get(
        f"{API}/collections/{large}/documents/1", **bearer(ORDERS), if_none_match=document.headers["etag"]
    ).status == 304  # fmt: skip
    for path in ("documents", "documents/1/events", "documents/1/blame", "events"):
        reply = served.get(f"{API}/collections/{large}/{path}", **bearer(ORDERS))
        assert reply.status == 200, (path, reply.body[:300])
        assert text.encode() in reply.body, path
    lines = served.get(f"{API}/events", **bearer(ORDERS), accept=LINES)
    assert text.encode() in lines.body
    assert json_util.loads(lines.body.splitlines()[0])["namespace"] == large
    page = served.get(f"/history/document?ns={large}&id=1", **bearer(ORDERS))
    assert page.status == 200
    assert len(page.body) < 1_000_000


def test_who_set_what_of_a_deleted_document_is_nothing_and_no_fault_of_ours(
    client: MongoClient[Any], served: Served
) -> None:
    """A page that was open when the document went asks for it."""
    client[served.watched].orders.insert_one({"_id": "gone"})
    client[served.watched].orders.delete_one({"_id": "gone"})
    served.recording.catch_up()  # type: ignore[attr-defined]
    assert served.get(f"/history/document/blame?ns={served.watched}.orders&id=gone", **bearer(ORDERS)).status == 200


def test_a_token_that_is_taken_back_ends_a_long_answer(client: MongoClient[Any], served: Served, tokens: Path) -> None:
    """And nobody takes what came for the whole."""
    for number in range(8):
        client[served.watched].large.insert_one({"_id": f"more {number}", "v": "x" * 3_000_000})
    served.recording.catch_up()  # type: ignore[attr-defined]
    before = tokens.read_text()
    connection = HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request("GET", f"{API}/events", headers={**bearer(ORDERS), "accept": LINES, "accept-encoding": ""})
    reply = connection.getresponse()
    try:
        assert reply.read(10)
        tokens.write_text(before.replace(hash_of(ORDERS), hash_of("another")))
        time.sleep(1.2)
        with pytest.raises(IncompleteRead):
            reply.read()
    finally:
        tokens.write_text(before)
        connection.close()
    eventually(lambda: served.get(f"{API}/collections", **bearer(ORDERS)).status == 200, "the token to be back")


def test_under_a_root_path_nothing_is_served_around_the_door(served: Served) -> None:
    """With the root path, without it, encoded or doubled: what needs a token needs it. Its cookie stays there."""
    for path in (
        "/history", "/history/", "/history/api/v1/collections", "/api/v1/collections", "/%68istory/api/v1/collections",
        "/history/history/api/v1/collections", "//api/v1/collections", "/history//api/v1/collections",
        "/history/static/..%2fapi/v1/collections", "/static/../api/v1/collections", "/history/live/../api/v1/events",
        "/historyx/api/v1/collections", "/history/api%2Fv1/collections", "/HISTORY/api/v1/collections",
        "/history/static/%2e%2e/%2e%2e/access.py", "/history/static/../../tokens.py", "/login/../api/v1/events",
    ):  # fmt: skip
        reply = served.get(path)
        assert reply.status in {303, 401, 404}, (path, reply.status)
        assert served.watched.encode() not in reply.body
        assert b"import" not in reply.body
        if reply.status == 303:
            assert reply.headers["location"].startswith("/history/login?next=%2F"), path
    assert served.get("/history", **bearer(ORDERS)).status == 200
    reply = served.send("POST", "/history/login?next=/search", f"token={ORDERS}".encode())
    assert reply.headers["location"] == "/history/search"
    assert "Path=/history;" in reply.headers["set-cookie"] + ";"
    for evil in ("//evil.example", "/\\evil.example", "https://evil.example", "/%0d%0aSet-Cookie:a=b", "/\t/evil"):
        sent = served.send("POST", f"/history/login?next={evil.encode().hex() if chr(9) in evil else evil}",
                           f"token={ORDERS}".encode())  # fmt: skip
        assert sent.headers["location"].startswith("/history/"), evil
        assert "a=b" not in sent.headers.get("set-cookie", "")
    description = json.loads(served.get("/history/api/v1/openapi.json", **bearer(ORDERS)).body)
    assert description["servers"][0]["url"].startswith("/history")
