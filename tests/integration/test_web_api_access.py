"""Who is told what by `watcher serve`: on a real server, over real connections."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson import Binary, Timestamp
from bson.raw_bson import RawBSONDocument

from tests.support.daemon import ROOT
from tests.support.recording import Recording
from tests.support.web import Served, bearer
from watcher.web.tokens import hash_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pymongo import MongoClient
    from pymongo.database import Database

ORDERS, CARDS, EXPIRED, RENAMED = "mcw_orders", "mcw_cards", "mcw_expired", "mcw_renamed"


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokens file."""
    return tmp_path_factory.mktemp("served") / "tokens.toml"


@pytest.fixture(scope="module")
def access_log(tokens: Path) -> Path:
    """The access log."""
    return tokens.parent / "access.log"


def a_gap(name: str) -> bytes:
    """A gap that lost events of everything."""
    said = {
        "stream": "secret",
        "from": Timestamp(1_700_000_000, 1),
        "to": Timestamp(1_700_000_001, 1),
        "cause": "the oplog was cut",
        "include": [f"{name}.*", "secret.cards"],
        "exclude": [],
    }
    when = Timestamp(1_700_000_000, 1)
    return bson.encode(
        {
            "_id": Binary(when.time.to_bytes(4, "big") + when.inc.to_bytes(4, "big") + b"gap-gap-"),
            "operation": "gap",
            "timestamp": when.as_datetime(),
            "cluster_time": when,
            "changes": [],
            "description": said,
        }
    )


def by_eve(namespace: str, number: int) -> bytes:
    """An event of which it is known who made it."""
    when = Timestamp(1_700_000_100, number + 1)
    return bson.encode(
        {
            "_id": Binary(when.time.to_bytes(4, "big") + when.inc.to_bytes(4, "big") + b"eve-eve-"),
            "namespace": namespace,
            "document_id": f"by eve {number}",
            "operation": "insert",
            "timestamp": when.as_datetime(),
            "cluster_time": when,
            "changes": [{"field": "_id", "new_value": f"by eve {number}"}],
            "actor": {"id": "eve", "provenance": "context"},
        }
    )


@pytest.fixture(scope="module")
def served(client: MongoClient[Any], replica_set_uri: str, tokens: Path, access_log: Path) -> Iterator[Served]:
    """Two collections, changed in one transaction; three tokens."""
    folder = tokens.parent
    name = f"access_{time.time_ns()}"
    shop: Database[dict[str, Any]] = client[name]
    entries = [(ORDERS, "orders", ""), (CARDS, "cards", ""), (RENAMED, "renamed", "")]
    entries += [(EXPIRED, "*", "expires = 2020-01-01T00:00:00Z")]
    tokens.write_text(
        "\n".join(
            f'[[token]]\nname = "{token}"\nhash = "{hash_of(token)}"\nread = ["{name}.{what}"]\n{more}'
            for token, what, more in entries
        )
    )
    with Recording(client, name) as recording:
        shop.create_collection("orders")
        shop.create_collection("cards")
        with client.start_session() as session, session.start_transaction():
            shop.orders.insert_one({"_id": 17, "status": "paid"}, session=session)
            shop.cards.insert_one({"_id": "ann", "number": "4111"}, session=session)
        shop.secret.insert_one({"_id": 1, "status": "before"})
        shop.secret.rename("renamed")
        shop.renamed.update_one({"_id": 1}, {"$set": {"status": "after"}})
        recording.catch_up()
        recording.put(a_gap(name))
        for number in range(120):  # an actor who did much elsewhere, and one thing here
            recording.put(by_eve(f"{name}.orders" if number == 60 else f"{name}.cards", number))
        settings = {"serve_tokens": tokens, "access_log": access_log}
        with Served(
            folder / "log", uri=replica_set_uri, history_database=recording.history.name, **settings
        ) as running:
            running.watched = name
            yield running
    client.drop_database(name)


@pytest.mark.parametrize("shown", [{}, bearer("mcw_guess"), bearer(EXPIRED), {"authorization": "Basic YTpi"}])
@pytest.mark.parametrize("path", ["/api/v1/collections", "/api/v1/nothing", "/", "/live.users", "/static.x"])
def test_without_a_token_that_holds_nothing_is_told(served: Served, shown: dict[str, str], path: str) -> None:
    """The same words for what exists and for what does not."""
    reply = served.get(path, **shown)

    assert reply.status == (401 if path.startswith("/api") else 303)
    assert b"orders" not in reply.body


def test_a_token_sees_its_own_collections_only(served: Served) -> None:
    """The list of collections has no other."""
    name = served.watched

    assert [item["namespace"] for item in served.get("/api/v1/collections", **bearer(ORDERS)).json["items"]] == [
        f"{name}.orders"
    ]


def test_what_is_denied_looks_like_what_does_not_exist(served: Served) -> None:
    """The same status, words and headers, whatever is asked of it: but for the name, byte by byte."""
    denied, missing = f"{served.watched}.cards", f"{served.watched}.cardz"
    event, stranger = the_event(served, "cards"), "0" * 32
    asked = [
        "/collections/{}",
        "/collections/{}/events",
        "/collections/{}/documents",
        "/collections/{}/documents?where=number%3D4111",
        "/collections/{}/diff?from=2020-01-01",
        "/collections/{}/documents/ann",
        "/collections/{}/documents/ann?at=1",
        "/collections/{}/documents/ann/events",
        "/collections/{}/documents/ann/versions",
        "/collections/{}/documents/ann/diff?from=1",
        "/collections/{}/documents/ann/blame",
        "/events?namespace={}",
        "/gaps?namespace={}",
        "/stats?namespace={}",
        "/follow?namespace={}",
        "/follow?namespace={}&id=ann",
    ]
    pairs = [(path.format(denied), path.format(missing)) for path in asked]
    pairs += [(f"/events/{event}", f"/events/{stranger}"), (f"/transactions/{event}", f"/transactions/{stranger}")]
    pairs += [(f"/collections/{served.watched}.orders/documents/~{each}" for each in (event, stranger))]  # type: ignore[list-item]
    for one, other in pairs:
        told, nothing = (served.get(f"/api/v1{path}", **bearer(ORDERS)) for path in (one, other))
        assert (told.status, told.body) == (nothing.status, nothing.body) == (404, nothing.body), one
        for reply in (told, nothing):
            del reply.headers["date"]
        assert told.headers == nothing.headers


def test_a_transaction_shows_only_what_may_be_read(served: Served) -> None:
    """Neither the other collection's event nor how many there were."""
    orders = the_event(served, "orders")
    name = served.get(f"/api/v1/events/{orders}", **bearer(ORDERS)).json["transaction"]["name"]
    for path in (f"/transactions/{name}", f"/events?transaction={name}", f"/transactions/{orders}"):
        reply = served.get(f"/api/v1{path}", **bearer(ORDERS))
        assert [each["namespace"] for each in reply.json["items"]] == [f"{served.watched}.orders"], path
        assert b"cards" not in reply.body
        assert b"ann" not in reply.body


def test_lists_and_counts_have_nothing_of_what_may_not_be_read(served: Served) -> None:
    """Nor has a value that only another collection ever had, a gap, an actor."""
    paths = ("/collections", "/events", "/events?order=oldest", "/events?changed_to=4111", "/gaps", "/actors")
    for path in (*paths, "/stats?of=collections&of=days&of=documents&of=fields&of=actors"):
        reply = served.get(f"/api/v1{path}", **bearer(ORDERS))
        assert reply.status == 200, (path, reply.body)
        assert b"cards" not in reply.body, path
        assert b"4111" not in reply.body, path
    assert served.get("/api/v1/events?changed_to=4111", **bearer(ORDERS)).json["items"] == []
    gaps = served.get("/api/v1/gaps", **bearer(ORDERS)).json["items"]
    assert len(gaps) == 1  # it may have lost orders, too; of what else it says nothing
    assert gaps[0]["include"] == [f"{served.watched}.orders"]


def test_a_name_that_was_another_collections_tells_nothing_of_it(served: Served) -> None:
    """A rename from or to what may not be read says no other name; blame names no event that may not be read."""
    renamed = f"{served.watched}.renamed"
    for path in ("/documents/1", "/documents/1/events", "/documents/1/blame", "/events", "/documents"):
        reply = served.get(f"/api/v1/collections/{renamed}{path}", **bearer(RENAMED))
        assert reply.status == 200, (path, reply.body)
        assert b"secret" not in reply.body, path
        assert b"before" not in reply.body, path
    document = served.get(f"/api/v1/collections/{renamed}/documents/1", **bearer(RENAMED)).json
    assert document["document"] == {"_id": 1, "status": "after"}


def test_every_reading_is_logged_before_it_is_answered(served: Served, access_log: Path) -> None:
    """Who, from where, which documents; and who was refused."""
    served.get(f"/api/v1/collections/{served.watched}.orders/documents/17", **bearer(ORDERS))
    line = json.loads(access_log.read_text().splitlines()[-1])
    assert (line["visitor"], line["address"], line["documents"]) == (
        "mcw_orders",
        "127.0.0.1",
        [[f"{served.watched}.orders", {"$numberInt": "17"}]],
    )
    served.get("/api/v1/collections")
    assert json.loads(access_log.read_text().splitlines()[-1])["status"] == 401
    access_log.rename(access_log.with_suffix(".1"))
    served.get("/api/v1/events", **bearer(ORDERS))
    assert json.loads(access_log.read_text().splitlines()[-1])["documents"] == [
        [f"{served.watched}.orders", {"$numberInt": "17"}],
        [f"{served.watched}.orders", "by eve 60"],
    ]
    assert ORDERS not in access_log.with_suffix(".1").read_text().replace('"visitor": "mcw_orders"', "")


def test_a_token_that_is_taken_back_opens_nothing_any_more(served: Served, tokens: Path) -> None:
    """Without a restart; and with a file that cannot be used nobody is let in."""
    before = tokens.read_text()
    try:
        tokens.write_text(before.replace(hash_of(ORDERS), hash_of("another")))
        assert served.get("/api/v1/collections", **bearer(ORDERS)).status == 401
        assert served.get("/api/v1/collections", **bearer(CARDS)).status == 200
        tokens.write_text("[[token]\n")
        assert served.get("/api/v1/collections", **bearer(CARDS)).status == 401
    finally:
        tokens.write_text(before)
    assert served.get("/api/v1/collections", **bearer(ORDERS)).status == 200


def test_who_follows_is_told_nothing_once_the_token_is_taken_back(
    served: Served, tokens: Path, client: MongoClient[Any]
) -> None:
    """Not only those who ask anew."""
    before = tokens.read_text()
    connection = HTTPConnection("127.0.0.1", served.port, timeout=30)
    connection.request("GET", "/api/v1/follow", headers=bearer(ORDERS))
    reply = connection.getresponse()
    assert reply.readline().startswith(b"retry")
    history = client[f"{served.watched}_history"].history
    try:
        history.insert_one(RawBSONDocument(by_eve(f"{served.watched}.orders", 200)))
        while not (line := reply.readline()).startswith(b"data"):
            assert line
        tokens.write_text(before.replace(hash_of(ORDERS), hash_of("another")))
        time.sleep(1.2)
        history.insert_one(RawBSONDocument(by_eve(f"{served.watched}.orders", 201)))
        assert reply.read().strip() == b""
    finally:
        tokens.write_text(before)
        connection.close()
        history.delete_many({"document_id": {"$in": ["by eve 200", "by eve 201"]}})


def the_event(served: Served, collection: str) -> str:
    """The id of the event in the transaction, as one who may read it is told."""
    token = {"orders": ORDERS, "cards": CARDS}[collection]
    page = served.get(f"/api/v1/collections/{served.watched}.{collection}/events?operation=insert", **bearer(token))
    return str(page.json["items"][0]["id"])


def test_a_page_from_elsewhere_cannot_point_its_name_here(served: Served) -> None:
    """DNS rebinding names another host."""
    assert served.get("/api/v1/collections", host="evil.example", **bearer(ORDERS)).status == 421


def test_every_answer_forbids_what_a_browser_could_be_made_to_do(served: Served) -> None:
    """Also a refusal."""
    for path in ("/api/v1/collections", "/live", "/login", "/none"):
        headers = served.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_the_browser_keeps_a_token_that_scripts_cannot_read(served: Served) -> None:
    """And only one that holds."""
    reply = served.send("POST", "/login?next=//evil.example", f"token={ORDERS}".encode())

    assert reply.status == 303
    assert reply.headers["location"] == "/"
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert served.get("/", cookie=cookie.partition(";")[0]).status == 200
    assert served.send("POST", "/login", b"token=wrong").status == 401


def test_another_site_logs_nobody_in_or_out(served: Served) -> None:
    """Its form would be sent by the browser as if by its user, who then reads as somebody else."""
    for path in ("/login", "/logout"):
        for site in ("cross-site", "same-site"):
            reply = served.send("POST", path, f"token={ORDERS}".encode(), sec_fetch_site=site)
            assert (reply.status, "set-cookie" in reply.headers) == (403, False)
        own = served.send("POST", path, f"token={ORDERS}".encode(), sec_fetch_site="same-origin")
        assert (own.status, "set-cookie" in own.headers) == (303, True)


def test_off_loopback_nothing_starts_without_authentication(tmp_path: Path) -> None:
    """History is for those who may read it."""
    ended = subprocess.run(
        [sys.executable, "-m", "watcher", "serve", "--host", "0.0.0.0"],
        env={"WATCHER_MONGODB_URI": "mongodb://127.0.0.1:1/"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ended.returncode == 2
    assert "WATCHER_SERVE_TOKENS" in ended.stderr


def test_verification_is_for_those_who_may_read_everything(served: Served) -> None:
    """Its findings name documents of all collections."""
    assert served.get("/api/v1/verification", **bearer(ORDERS)).status == 403


def test_pages_count_nothing_that_may_not_be_read(served: Served) -> None:
    """Neither by a page more, nor by an event that is not found among others."""
    page = served.get("/actor?who=eve", **bearer(ORDERS))
    assert page.status == 200
    assert b"by eve 60" in page.body
    assert b"by eve 61" not in page.body
    assert b"before=" not in page.body
    assert served.get("/actor?who=eve", **bearer(RENAMED)).status == 404
    assert served.get("/api/v1/events?actor=eve", **bearer(ORDERS)).json["items"][0]["document_id"] == "by eve 60"
    assert served.get("/api/v1/events?actor=eve", **bearer(RENAMED)).json["items"] == []
    assert served.get("/api/v1/actors", **bearer(RENAMED)).json["items"] == []
