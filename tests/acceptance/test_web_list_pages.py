"""The pages that list events: collections, searches, actors, transactions, gaps, and what is deleted."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

from bson import Binary, Timestamp

from tests.support.daemon import ROOT, eventually
from tests.support.pages import (
    TOKEN,
    Told,
    orders,
)

if TYPE_CHECKING:
    from tests.support.browser import Reader


def test_new_events_appear_while_one_looks(told: Told, reader: Reader) -> None:
    """Also several, each once; a gap too."""
    reader.open("follow", ns=told.ns("customers"))
    eventually(lambda: "Following" in reader.text("#live-state"), "a stream", 60)
    count = len(reader.all("#live .events > li"))
    for number in range(3):
        told.shop.customers.insert_one({"_id": f"live {number}", "text": "<b>new</b>"})
        told.recording.catch_up()
    eventually(lambda: len(reader.all("#live .events > li")) == count + 3, "three more rows", 60)
    assert '"live 2"' in reader.texts("#live .events > li")[0]
    assert "3 new" in reader.text("#live-state")


def test_a_deleted_document_is_shown_with_the_command_that_brings_it_back(
    told: Told, reader: Reader, replica_set_uri: str
) -> None:
    """The command is one that works."""
    reader.open("collection/deleted", ns=told.ns("customers"))
    command = reader.text(".gone code")
    assert command == f"watcher revert {told.ns('customers')} ann --undelete"
    reader.find(".gone .doc").click()
    assert reader.text("#command") == command
    assert '"Ann"' in reader.text(".was")
    environment = {
        **os.environ,
        "WATCHER_MONGODB_URI": replica_set_uri,
        "WATCHER_HISTORY_DATABASE": told.recording.history.name,
    }
    asked = [sys.executable, "-m", *shlex.split(command)]
    done = subprocess.run(asked, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert "to be inserted" in done.stdout, done.stderr


def test_what_could_not_be_recorded_is_found_from_the_first_page(told: Told, reader: Reader) -> None:
    """With why; and nobody who may not read the collection learns of it."""
    kept = told.recording.history.rejected
    at = Timestamp(1_800_000_000, 1)
    stored = {"namespace": told.ns("products"), "operation": "update", "document_id": "<b>lamp</b>", "cluster_time": at}
    kept.insert_one({"_id": Binary(bytes(16)), "error": "<img src=x> is too deep", **stored})
    try:
        reader.open("")
        reader.follow_link("Which, and why")
        shown = reader.text(".gone li")
        assert "products" in shown
        assert '"<b>lamp</b>" update' in shown
        assert "<img src=x> is too deep" in shown
        reply = told.guarded.get("/rejected", cookie=f"watcher_token={TOKEN}")
        assert b"No event was rejected" in reply.body
        assert b"could not be recorded. <a" not in told.guarded.get("/", cookie=f"watcher_token={TOKEN}").body
    finally:
        kept.delete_many({})


def test_one_thing_across_collections_is_one_timeline(told: Told, reader: Reader) -> None:
    """By the reference that the settings name; by value where none does."""
    reader.open("across", ns=told.ns("customers"), id="ann")
    addresses = [row.get_attribute("href") or "" for row in reader.all(".events a.doc")]
    assert sum("customers" in address for address in addresses) == 2
    assert sum("orders" in address and "id=17" in address for address in addresses) == 4
    assert not any("id=18" in address for address in addresses)
    reader.open("across", ns=told.ns("products"), id="lamp")
    assert any("orders" in chip for chip in reader.texts(".chips a"))


def test_a_transaction_is_shown_with_all_it_touched(told: Told, reader: Reader) -> None:
    """Reached from a document."""
    reader.open("document", **orders(told), at=3)
    reader.find(".meta .tx").click()
    shown = reader.texts(".events a.doc")
    assert len(shown) == 2
    assert any("lamp" in each for each in shown)
    assert "watcher revert --transaction" in reader.text("#command")


def test_what_an_actor_did_is_one_list(told: Told, reader: Reader) -> None:
    """Reached from what they changed."""
    reader.open("document", **orders(told), at=2)
    assert "ticket 7" in reader.text(".meta")
    reader.find(".meta .who a").click()
    assert len(reader.all(".events > li")) == 1
    assert '"new" → "paid"' in reader.text(".events")


def test_a_value_it_once_had_finds_a_document(told: Told, reader: Reader) -> None:
    """However deep it was, and though it is gone."""
    reader.open("search", q="ann@example.org")
    assert any("ann" in each for each in reader.texts(".events a.doc"))
    reader.open("search", q="Bern")
    assert any("17" in each for each in reader.texts(".events a.doc"))
    reader.open("search", q="nothing has this")
    assert "None" in reader.text()


def test_a_gap_is_seen_wherever_it_matters(told: Told, reader: Reader) -> None:
    """Not as emptiness: on the first page, in timelines, on a page of its own."""
    for page, asked in (
        ("", {}),
        ("gaps", {}),
        ("document", {**orders(told), "at": 3}),
        ("collection", {"ns": told.ns("orders")}),
    ):
        reader.open(page, **asked)
        assert "the oplog was cut" in reader.text(), page
