"""The pages that list events: collections, searches, actors, transactions, gaps, and what is deleted."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import Binary, Timestamp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from change_history.bson.cluster_time import ClusterTime
from change_history.query.transactions import name_of
from change_history.seals import records
from change_history.seals.seal import Seal, Sealed, SigningKey, digest_of, read
from change_history.seals.store import Store
from change_history.stored.reading import RAW
from tests.support.daemon import eventually
from tests.support.pages import (
    TOKEN,
    Told,
    dry_run,
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
    assert "to be inserted" in dry_run(told, replica_set_uri, command)


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


def test_a_long_array_does_not_hide_what_else_a_transaction_did(told: Told, reader: Reader) -> None:
    """Its first elements that changed stand there, and how many more did; nothing leads to the page one is on."""
    lines: list[dict[str, Any]] = [{"sku": f"S{number}", "qty": number} for number in range(30)]
    with told.shop.client.start_session() as session, session.start_transaction():
        told.shop.products.insert_one({"_id": "long", "lines": lines}, session=session)
        changed = [{**each, "qty": each["qty"] + 1} for each in lines]
        told.shop.products.update_one({"_id": "long"}, {"$set": {"lines": changed, "total": 1}}, session=session)
    told.recording.catch_up()
    event = list(told.history.log(told.ns("products"), "long"))[-1]
    assert event.transaction is not None
    reader.open("transaction", name=name_of(event.transaction))
    row = reader.texts(".events > li")[1]
    assert "lines[0].qty 0 → 1" in row
    assert "and 24 more changes in lines" in row
    assert "S29" not in row
    assert "total 1" in row
    assert not reader.all(".events a[href*='transaction?']")


def test_what_an_actor_did_is_one_list(told: Told, reader: Reader) -> None:
    """Reached from what they changed."""
    reader.open("document", **orders(told), at=2)
    assert "ticket 7" in reader.text(".meta")
    reader.find(".meta .who a").click()
    assert len(reader.all(".events > li")) == 1
    assert '"new" → "paid"' in reader.text(".events")


def test_an_auditor_finds_what_somebody_did_in_a_month(told: Told, reader: Reader) -> None:
    """From the list of actors, or by name; what lies outside the time is not counted."""
    reader.open("")
    reader.follow_link("Actors")
    reader.follow_link("alice")
    event = next(event for event in told.history.log(told.ns("orders"), 17) if event.actor is not None)
    day = event.timestamp.date()
    for name, value in (("since", str(day)), ("until", str(day + timedelta(days=1)))):
        reader.find(f"input[name='{name}']").send_keys(value)
    reader.find(".pick button").click()
    assert "1 event in this time" in reader.text()
    assert len(reader.all(".events > li")) == 1
    whole = str(reader.find("main .n2 a").get_attribute("href")).removeprefix(told.served.url)
    (found,) = told.served.get(whole).json["items"]
    assert found["actor"]["id"] == "alice"
    reader.open("actor", who="alice", since="2026-03-01", until="2026-04-01")
    assert "0 events in this time" in reader.text()
    assert not reader.all(".events > li")
    reader.open("search", q="alice")
    reader.follow_link("what alice did")
    assert len(reader.all(".events > li")) == 1
    assert told.served.get("/actor?who=alice&since=never").status == 400
    assert b"alice" in told.guarded.get("/actors", cookie=f"watcher_token={TOKEN}").body


def test_the_page_of_seals_claims_no_more_than_it_knows(told: Told, reader: Reader) -> None:
    """What is sealed, by which key, what is not yet; nothing is called verified. Only for who may read everything."""
    reader.open("seals")
    assert "Nothing is sealed" in reader.text(".box.warn")
    assert reader.text("#command") == "watcher verify"
    history = told.recording.history
    some = [bytes(each.raw) for each in history.get_collection("history", codec_options=RAW).find(limit=7)]
    last = ClusterTime.from_id(max(records.id_of(each) for each in some))
    store, name = Store(history), bytes(16)
    store.prepare()
    packed = records.committed(some)
    root = store.put(name, 0, packed, "a test").hex()
    key = SigningKey(Ed25519PrivateKey.generate())
    text = Seal(
        1,
        "",
        root,
        len(some),
        {},
        {"default": f"{last.seconds}:{last.increment}"},
        "2026-11-28T08:00:00+00:00",
        "a test",
        key.public,
    ).text()
    digest = digest_of(text)
    store.append(Sealed(read(text), text, digest, key.sign(digest), name))
    try:
        reader.open("seals")
        shown = " ".join(reader.find("main").text.split())
        assert digest in shown
        assert key.public in shown
        assert f"not sealed yet {history.history.estimated_document_count() - len(some)} events" in shown
        assert "Sealing has stopped" in reader.text(".box.warn")
        assert "This page has checked nothing" in shown
        assert reader.text("#command") == "watcher verify --public-key seal-public.pem --against seals.jsonl"
        reply = told.guarded.get("/seals", cookie=f"watcher_token={TOKEN}")
        assert reply.status == 403
        assert digest.encode() not in reply.body
        history.seals.update_one({}, {"$set": {"seal": "{}"}})
        assert b"cannot be read" in told.served.get("/seals").body
    finally:
        history.seals.drop()
        history.seal_leaves.drop()


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


def test_a_gap_is_not_said_to_be_known_and_unknown(told: Told, reader: Reader) -> None:
    """Nothing was compared since; on a phone, every column is in sight."""
    reader.emulate(width=390)
    reader.open("gaps")
    assert "is known again; until then" in reader.text()
    assert "were before and after is known" not in reader.text()
    row = reader.find(".stack tbody tr")
    assert "not yet" in row.text
    edge = reader.driver.execute_script(
        "return Math.max(...[...document.querySelectorAll('.stack td')].map((e) => e.getBoundingClientRect().right))"
    )
    assert edge <= 390


def test_events_are_called_what_the_command_calls_them(told: Told, reader: Reader) -> None:
    """Whoever reads `watcher log` too looks for one word; whoever is not known, is said to be so."""
    reader.open("collection", ns=told.ns("orders"))
    rows = reader.texts(".events > li:not(.gap)")
    events = [event for event in told.history.log(told.ns("orders")) if event.operation != "gap"]
    words = [text.split() for text in reversed(reader.texts(".events > li:not(.gap) .op"))]
    assert words == [event.operation.split() for event in events]
    for row, event in zip(reversed(rows), events, strict=True):
        if event.operation in {"insert", "update"}:
            assert "alice" in row if event.actor is not None else "unknown" in row, row
    assert any("ticket 7" in row for row in rows)


def test_a_link_to_a_document_looks_like_one(told: Told, reader: Reader) -> None:
    """In the colour of links, and underlined."""
    reader.open("follow")
    reader.find(".events a.doc .ns")
    # In one go: the page of what happens now sets its rows anew.
    style = (
        "(one) => { const s = getComputedStyle(document.querySelector(one)); return [s.color, s.textDecorationLine] }"
    )
    link, part, plain = reader.driver.execute_script(
        f"return arguments[0].map({style})", [".events a.doc", ".events a.doc .ns", ".top"]
    )
    assert link[1] == "underline"
    assert part[0] == link[0] != plain[0]


def test_what_is_said_to_change_most_was_changed(told: Told, reader: Reader) -> None:
    """Not what every insert has: `_id` never changes."""
    reader.open("collection", ns=told.ns("orders"))
    fields = reader.texts(".meters .f")
    assert "status" in fields
    assert "_id" not in fields
    assert "customer" not in fields


@pytest.mark.parametrize("span", ["24h", "30d", "12m"])
def test_a_chart_has_its_dates_as_everything_else(told: Told, reader: Reader, span: str) -> None:
    """ISO 8601, in the reader's zone or UTC; not the month before the day."""
    drawn = """
        window.drawn = [];
        const draw = CanvasRenderingContext2D.prototype.fillText;
        CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
            drawn.push(text);
            return draw.call(this, text, ...rest);
        };
    """
    added = reader.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": drawn})
    reader.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "America/New_York"})
    try:
        reader.open("collection", ns=told.ns("orders"), span=span)
        texts = eventually(lambda: reader.driver.execute_script("return drawn.length && drawn"), "a chart", 60)
        label = re.compile(r"\d+|\d\d:\d\d|\d\d-\d\d|\d{4}-\d\d(-\d\d)?")
        assert [text for text in texts if not label.fullmatch(text)] == []
        assert any("-" in text for text in texts)
        reader.hover(reader.find(".u-over"))
        moment = re.compile(r"\d{4}-\d\d(-\d\d( \d\d:\d\d)?)?")
        eventually(lambda: moment.fullmatch(reader.text(".u-legend .u-value")), "a moment", 60)
        reader.find("details summary").click()
        assert all(re.fullmatch(r"\d{4}-[-\d :]+", text) for text in reader.texts("#bars th time"))
    finally:
        reader.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
        reader.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})
