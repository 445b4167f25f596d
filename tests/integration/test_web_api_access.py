"""Who is told what by `watcher serve`: on a real server, over real connections."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.daemon import ROOT
from tests.support.recording import Recording
from tests.support.web import Served
from watcher.web.tokens import hash_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pymongo import MongoClient
    from pymongo.database import Database

ORDERS, CARDS, EXPIRED = "mcw_orders", "mcw_cards", "mcw_expired"


def bearer(token: str) -> dict[str, str]:
    """The header that shows a token."""
    return {"authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def served(
    client: MongoClient[Any], replica_set_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Two collections, changed in one transaction; three tokens."""
    folder = tmp_path_factory.mktemp("served")
    name = f"access_{folder.name.replace('-', '_')}"
    shop: Database[dict[str, Any]] = client[name]
    tokens = folder / "tokens.toml"
    entries = [(ORDERS, "orders", ""), (CARDS, "cards", ""), (EXPIRED, "*", "expires = 2020-01-01T00:00:00Z")]
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
        recording.catch_up()
        settings = {"serve_tokens": tokens, "access_log": folder / "access.log"}
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
