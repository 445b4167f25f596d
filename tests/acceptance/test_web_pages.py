"""The pages of `watcher serve`, read by somebody with a real Chromium, and compared with what `History` tells."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import subprocess
import sys
from html import unescape
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from bson import Binary, Decimal128, Timestamp
from bson.raw_bson import RawBSONDocument

from change_history.bson import extended_json, raw, redacted
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.redacted import How
from change_history.diff.compare import Kind
from change_history.reader import Reader as Stored
from change_history.stored.order import before
from tests.support import browser as browsers
from tests.support.browser import DOWN, ENTER, LEFT, RIGHT, Reader
from tests.support.daemon import FULL_SIZE, ROOT, eventually
from tests.support.recording import Recording
from tests.support.web import Served
from watcher.gaps import gap
from watcher.web.tokens import hash_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pymongo import MongoClient
    from pymongo.database import Database

FIELDS = 10_000 if FULL_SIZE else 1500
VERSIONS = 50_000 if FULL_SIZE else 120
BLOB = 15_500_000 if FULL_SIZE else 2_000_000
LARGEST_FIRST_PAGE = 60_000
TOKEN = "mcw_orders"

EVIL_ID = "</a><script>window.evil=1</script>"
EVIL: dict[str, Any] = {
    "_id": EVIL_ID,
    "script": "<img src=x onerror='window.evil=1'>",
    "link": "javascript:window.evil=1",
    "$where": "sleep(1000)",
    "{{7*7}}": "{{ 7*7 }} {% raw %} ${7*7}",
    "<b>key</b>": "'\"><svg/onload=window.evil=1>",
    "turned\u202eround": "abc\u202edef\u2066x\u200b",
    "control": "\x00\x07\x1b[31m\r\n\t\x7f\x85\u2028",
    "null": None,
    "": "an empty key",
    "a.b": {"$gt": 1},
    "right to left": "שלום עולם",
    "tall": "Z" + "\u0351\u036b\u0343" * 40,
    "end": "</title></style></textarea><!--",
}
WITHHELD = [(How.DROP, 0, b""), (How.MASK, raw.STRING, b"1234"), (How.HASH, 0, b"\x3f\xa9" * 8), (How.ERASED, 0, b"")]
DEPTH = 90
LONG_KEY = "k" * 1_000_000


class Told(NamedTuple):
    """What is recorded, and how to look at it."""

    shop: Database[dict[str, Any]]
    recording: Recording
    history: Stored
    served: Served
    guarded: Served

    def ns(self, collection: str) -> str:
        """A namespace."""
        return f"{self.shop.name}.{collection}"


@pytest.fixture(scope="module")
def told(client: MongoClient[Any], replica_set_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """The shop of the README, with what else may happen to documents."""
    folder = tmp_path_factory.mktemp("pages")
    name = f"pages_{os.getpid()}"
    shop = client[name]
    with Recording(client, name) as recording:
        write(shop, client)
        recording.catch_up()
        lose(recording)
        shop.orders.update_one({"_id": 17}, {"$set": {"status": "shipped", "tracking": "CH-42"}})
        recording.catch_up()
        somebody = {"id": "alice", "provenance": "context", "reason": "ticket 7"}
        recording.history.history.update_one(
            {"namespace": f"{name}.orders", "document_id": 17, "changes.new_value": "paid"},
            {"$set": {"actor": somebody}},
        )
        tokens = folder / "tokens.toml"
        tokens.write_text(f'[[token]]\nname = "orders"\nhash = "{hash_of(TOKEN)}"\nread = ["{name}.orders"]\n')
        common = {"uri": replica_set_uri, "history_database": recording.history.name}
        references = {"references": f"{name}.orders:customer→{name}.customers"}
        with (
            Served(folder / "open.log", **common, **references) as served,
            Served(folder / "guarded.log", **common, serve_tokens=tokens) as guarded,
            Stored.connect(replica_set_uri, recording.history.name) as history,
        ):
            yield Told(shop, recording, history, served, guarded)
    client.drop_database(name)


def write(shop: Database[dict[str, Any]], client: MongoClient[Any]) -> None:
    """What happens in the shop."""
    for each in (
        "orders",
        "customers",
        "products",
        "odd",
        "fields",
        "large",
        "versions",
        "keys",
        "secrets",
        "a/./b?&#<i>",
    ):
        shop.create_collection(each, changeStreamPreAndPostImages={"enabled": True})
    shop.create_collection("blind")
    shop.products.insert_one({"_id": "lamp", "price": 49, "stock": 10, "tags": ["light", "desk", "old"]})
    item = {"_id": 1, "product": "lamp", "qty": 2, "price": Decimal128("49.00")}
    order = {"_id": 17, "customer": "ann", "status": "new", "items": [item], "address": {"street": "A", "city": "Bern"}}
    shop.orders.insert_one({**order, "note": None})
    shop.orders.insert_one({"_id": 18, "customer": "bob", "status": "new"})
    shop.customers.insert_one({"_id": "ann", "name": "Ann", "email": "ann@example.org"})
    shop.orders.update_one({"_id": 17}, {"$set": {"status": "paid", "items.0.qty": 3}, "$unset": {"note": 1}})
    with client.start_session() as session, session.start_transaction():
        shop.orders.update_one({"_id": 17}, {"$set": {"address.street": "B"}}, session=session)
        shop.products.update_one({"_id": "lamp"}, {"$inc": {"stock": -3}}, session=session)
    shop.products.update_one({"_id": "lamp"}, {"$pull": {"tags": "desk"}})
    shop.customers.delete_one({"_id": "ann"})
    shop.odd.insert_one(EVIL)
    shop.odd.update_one({"_id": EVIL_ID}, {"$set": {"script": "<script>window.evil=2</script>"}})
    withheld = {str(how): redacted.written(how, kind, rest) for how, kind, rest in WITHHELD}
    values = {name: Binary(payload[5:], redacted.SUBTYPE) for name, (_, payload) in withheld.items()}
    shop.secrets.insert_one({"_id": 1, "nothing": None, **values})
    shop.secrets.update_one({"_id": 1}, {"$set": {"mask": values["erased"]}})
    shop.secrets.insert_one({"_id": 2, "name": values["erased"], "in": {"it": values["erased"]}})
    shop.secrets.delete_one({"_id": 2})
    deep: dict[str, Any] = {"leaf": 1}
    for _ in range(DEPTH):
        deep = {"d": deep}
    shop.odd.insert_one({"_id": "deep", **deep})
    shop.odd.update_one({"_id": "deep"}, {"$set": {".".join(["d"] * DEPTH) + ".leaf": 2}})
    shop.blind.insert_one({"_id": 1, "old": 1})
    shop.blind.update_one({"_id": 1}, {"$set": {"old": 2}})
    shop.keys.insert_one({"_id": 1, LONG_KEY: 1})
    shop["a/./b?&#<i>"].insert_one({"_id": {"<i>": "x" * 3000, "at": 1}, "v": 1})
    shop.fields.insert_one({"_id": 1, **{f"field{number}": number for number in range(FIELDS)}})
    shop.fields.update_one({"_id": 1}, {"$set": {f"field{FIELDS - 5}": "changed"}})
    shop.large.insert_one({"_id": 1, "blob": "y" * BLOB, "list": [{"n": n, "s": "z" * 20} for n in range(2000)]})
    shop.large.update_one({"_id": 1}, {"$set": {"small": 1}})
    shop.versions.insert_one({"_id": 1, "n": 0})
    for start in range(0, VERSIONS, 1000):
        for number in range(start, min(start + 1000, VERSIONS)):
            shop.versions.update_one({"_id": 1}, {"$set": {"n": number + 1}})


def lose(recording: Recording) -> None:
    """Record a gap, as the daemon does, after all that is recorded so far."""
    newest = recording.history.history.find_one(sort=[("_id", -1)])
    assert newest is not None
    since = ClusterTime.from_id(bytes(newest["_id"]))
    lost = gap.Gap("default", b"token", since, ClusterTime(since + 1), "the oplog was cut", ("*.*",), ())
    recording.history.history.insert_one(
        RawBSONDocument(gap.document(lost, (since.seconds * 1000).to_bytes(8, "little")))
    )


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser; without one this fails in CI, and skips elsewhere."""
    _required(browsers.missing())
    with browsers.browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The accessibility checker; likewise."""
    found = browsers.axe(tmp_path_factory.mktemp("axe"))
    _required(None if found else "axe-core is needed: PyPI, or WATCHER_TEST_AXE=…/axe.min.js")
    return found or ""


def _required(lacking: str | None) -> None:
    if lacking and os.environ.get("CI"):
        pytest.fail(lacking, pytrace=False)
    if lacking:
        pytest.skip(lacking)


@pytest.fixture
def reader(told: Told, driver: Any) -> Iterator[Reader]:
    """Somebody who looks; at the end, the browser has complained of nothing."""
    found = Reader(driver, told.served.url)
    found.emulate()
    found.console()
    yield found
    assert found.console() == []


def orders(told: Told) -> dict[str, Any]:
    """What names order 17 in an address."""
    return {"ns": told.ns("orders"), "id": "17"}


def document_shown(reader: Reader) -> Any:
    """The whole document of the page that is shown, read from its raw view."""
    return extended_json.loads(reader.text("pre.raw"))


def test_who_changed_the_status_when_and_what_was_it_before(told: Told, reader: Reader) -> None:
    """The one task: from the first page, by typing and clicking."""
    reader.open("")
    reader.find("#q").send_keys("17", ENTER)
    reader.find(".hits .doc").click()
    leaf = next(
        leaf for leaf in reader.all(".leaf") if leaf.text.startswith(("status", "changed")) or "status" in leaf.text
    )
    reader.hover(leaf)
    card = eventually(lambda: reader.find("#card").is_displayed() and reader.text("#card"), "who set it", 60)
    events = list(told.history.log(told.ns("orders"), 17, field="status"))
    last = events[-1]
    assert "Version 4" in card
    assert '"paid"' in card
    assert '"shipped"' in card
    assert last.timestamp.strftime("%H:%M:%S") in card
    reader.find("#card a[href*='field=status']").click()
    rows = [reader.text(f".events > li:nth-child({number + 1})") for number in range(len(events))]
    for row, event in zip(rows, reversed(events), strict=True):
        assert event.timestamp.strftime("%Y-%m-%d %H:%M:%S") in row
    assert "alice" in rows[1]
    assert '"new" → "paid"' in rows[1]


def test_every_version_is_what_history_says_by_arrow_keys(told: Told, reader: Reader) -> None:
    """Backwards and forwards; each has an address of its own, and the timeline marks it."""
    reader.open("document", **orders(told), view="raw")
    last = reader.version()
    for number in range(last, 0, -1):
        reader.waits_for(number)
        shown = extended_json.dumps(document_shown(reader))
        assert shown == extended_json.dumps(told.history.as_of(told.ns("orders"), 17, number))
        assert f"at={number}" in reader.driver.current_url or number == last
        assert reader.text(".versions [aria-current] b") == str(number)
        reader.type(LEFT)
    reader.type(RIGHT)
    reader.waits_for(2)
    reader.driver.back()
    reader.waits_for(1)


def test_the_slider_works_by_keyboard_and_keeps_the_focus(told: Told, reader: Reader) -> None:
    """Somebody holds the arrow key down."""
    reader.open("document", **orders(told))
    slider = reader.find("#slider")
    slider.send_keys(LEFT)
    reader.waits_for(3)
    assert reader.driver.switch_to.active_element.get_attribute("id") == "slider"
    reader.type(LEFT)
    reader.waits_for(2)
    reader.find(".versions li a").click()
    reader.waits_for(4)


def test_what_changed_is_marked_in_its_place(told: Told, reader: Reader) -> None:
    """As `History.differences` has it; blame by keyboard."""
    reader.open("document", **orders(told), at=2)
    shown = reader.texts(".state .leaf.chg, .state .leaf.add, .state .leaf.del")
    differences = told.history.differences(told.ns("orders"), 17, 1, 2)
    assert len(shown) == len(differences)
    assert any('status: "new" → "paid"' in each for each in shown)
    assert any("qty: 2 → 3" in each for each in shown)
    assert any("removed" in each and "note: null" in each for each in shown)
    assert {one.kind for one in differences} == {Kind.CHANGED, Kind.REMOVED}
    first = reader.find(".leaf[tabindex='0']")
    reader.driver.execute_script("arguments[0].focus()", first)
    reader.type(DOWN, DOWN)
    card = eventually(lambda: "Version 2" in reader.text("#card") and reader.text("#card"), "a card", 60)
    assert "alice" in card


def test_what_stands_on_one_line_is_blamed_leaf_by_leaf(told: Told, reader: Reader) -> None:
    """A small document whose fields are from several versions."""
    reader.open("document", **orders(told))
    leaf = next(leaf for leaf in reader.all(".leaf") if leaf.text.startswith("address"))
    reader.hover(leaf)
    card = eventually(lambda: "Version 3" in reader.text("#card") and reader.text("#card"), "who set it", 60)
    assert "street" in card
    assert "city" in card
    assert "Version 1" in card


def test_the_blame_table_says_what_history_does(told: Told, reader: Reader) -> None:
    """For every leaf, without hovering."""
    reader.open("document", **orders(told), view="blame")
    blamed = told.history.blame(told.ns("orders"), 17)
    rows = reader.texts(".blame tbody tr")
    assert len([row for row in rows if row.startswith("version")]) == len(blamed)
    for field, event in blamed.items():
        key = field.rpartition(".")[2]
        expected = f"version {told.history.version_of(event)} "
        assert any(row.startswith(expected) and f"{key}:" in row for row in rows), field


def test_a_link_means_the_same_after_more_has_happened(told: Told, reader: Reader) -> None:
    """It is sent to a colleague."""
    reader.open("document", ns=told.ns("orders"), id="18")
    address = reader.find("a.link").get_attribute("href")
    shown = reader.text(".state")
    told.shop.orders.update_one({"_id": 18}, {"$set": {"status": "lost"}})
    told.recording.catch_up()
    reader.driver.get(str(address))
    assert reader.text(".state") == shown
    assert reader.version() == 1
    assert reader.find("#swap").get_attribute("data-total") == "2"


def test_two_versions_beside_each_other_and_inline(told: Told, reader: Reader) -> None:
    """All differences, and nothing else is marked."""
    reader.open("document/compare", **orders(told), a=1, b=4)
    differences = told.history.differences(told.ns("orders"), 17, 1, 4)
    assert len(reader.all(".side tr.chg, .side tr.add, .side tr.del")) == len(differences)
    assert f"{len(differences)} differences" in reader.text()
    reader.follow_link("Inline")
    assert len(reader.all(".leaf.chg, .leaf.add, .leaf.del")) == len(differences)
    reader.follow_link("Swap")
    assert any('status: "shipped" → "new"' in each for each in reader.texts(".leaf.chg"))


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


def test_what_was_erased_is_not_offered_to_be_brought_back(told: Told, reader: Reader) -> None:
    """The command would bring back marks in place of values, or nothing."""
    reader.open("document", ns=told.ns("secrets"), id="2")
    assert not reader.all("#command")
    assert "nothing left to bring back" in reader.text()
    reader.open("collection/deleted", ns=told.ns("secrets"))
    assert not reader.all(".gone code")
    assert "nothing left to bring back" in reader.text(".gone")


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


def test_what_nobody_knows_is_not_shown_as_nothing(told: Told, reader: Reader) -> None:
    """An old value that no pre-image told."""
    reader.open("event", id=bytes(list(told.history.log(told.ns("blind"), 1))[-1].id).hex())
    assert "old unknown → 2" in reader.text(".diff")


def test_times_are_the_readers_with_utc_at_hand(told: Told, reader: Reader) -> None:
    """In a zone far away, and back; values that are dates stay what they are."""
    reader.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Pacific/Kiritimati"})
    reader.open("document", **orders(told), at=2)
    event = list(told.history.log(told.ns("orders"), 17))[1]
    here = event.timestamp.astimezone(ZoneInfo("Pacific/Kiritimati")).isoformat(" ", "milliseconds")[:23]
    there = event.timestamp.isoformat(" ", "milliseconds")[:23]
    assert reader.text(".meta time") == here
    assert reader.find(".meta time").get_attribute("title") == f"{there} UTC"
    reader.find("#zone").click()
    assert reader.text(".meta time") == f"{there} UTC"
    reader.find("#zone").click()
    reader.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})


def hostile_pages(told: Told) -> list[tuple[str, dict[str, Any]]]:
    """Every page on which something hostile is shown."""
    evil = {"ns": told.ns("odd"), "id": EVIL_ID}
    event = bytes(next(told.history.log(told.ns("odd"), EVIL_ID)).id).hex()
    strange = told.ns("a/./b?&#<i>")
    return [
        ("document", evil),
        *(("document", {**evil, "view": view}) for view in ("changes", "blame", "raw")),
        ("document", {**evil, "field": "<b>key</b>"}),
        ("document/compare", {**evil, "a": 1, "b": 2}),
        ("document/compare", {**evil, "a": 1, "b": 2, "mode": "inline"}),
        ("document/blame", evil),
        ("document/part", {**evil, "path": "[]"}),
        ("event", {"id": event}),
        ("value", {**evil, "path": '["script"]'}),
        ("document/raw", evil),
        ("across", evil),
        ("collection", {"ns": told.ns("odd")}),
        ("search", {"q": EVIL_ID}),
        ("search", {"q": EVIL_ID, "ns": told.ns("odd")}),
        ("search", {"q": '{"$where": "sleep(1000)"}'}),
        ("follow", {"ns": told.ns("odd")}),
        ("follow", {}),
        ("collection", {"ns": strange}),
        ("document", {"of": bytes(next(told.history.log(strange, limit=1)).id).hex()}),
        ("document", {"ns": told.ns("keys"), "id": "1"}),
        ("document", {"ns": told.ns("keys"), "id": "1", "view": "blame"}),
        ("document", {"ns": EVIL_ID, "id": EVIL_ID}),
        ("document", {**evil, "at": EVIL_ID}),
        ("transaction", {"name": EVIL_ID}),
        ("actor", {"who": EVIL_ID}),
        ("", {}),
    ]


def test_hostile_documents_are_text_everywhere(told: Told, driver: Any) -> None:
    """No script of theirs runs, no element of theirs is made, and nothing of it is a link elsewhere."""
    reader = Reader(driver, told.served.url)
    reader.console()
    foreign = """
        const ours = (address) => address.startsWith(location.origin + "/");
        const isForeign = (e) => e.matches("img, [onerror], [onload]") || (e.matches("script") && !ours(e.src))
            || (e.matches("a") && !ours(e.href)) || (e.matches("b") && /key/.test(e.textContent));
        return [...document.querySelectorAll("*")].filter(isForeign).map((e) => e.outerHTML)"""
    for page, asked in hostile_pages(told):
        reader.open(page, **asked)
        assert driver.execute_script("return window.evil ?? null") is None, page
        assert driver.execute_script(foreign) == [], page
        text = driver.execute_script("return document.documentElement.innerText")
        raw = page in {"value", "document/raw"}
        assert raw or not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b]", text), page
        refusals = [said for said in reader.console() if "status of 40" not in said]
        assert refusals == [], page


def test_what_hostile_values_are_can_be_read(told: Told, reader: Reader) -> None:
    """Each character that is not visible is made so, and every value is there."""
    reader.open("document", ns=told.ns("odd"), id=EVIL_ID)
    shown = reader.text(".state")
    for text in (
        '"<script>window.evil=2</script>"',
        '"javascript:window.evil=1"',
        '"turned\\u202eround"',
        '"\\u0000\\u0007\\u001b[31m\\r\\n\\t\\u007f\\u0085\\u2028"',
        "null",
        '"an empty key"',
        "{$gt: 1}",
        "שלום עולם",
        '"{{ 7*7 }} {% raw %} ${7*7}"',
    ):
        assert text in shown, text


def test_what_is_withheld_is_neither_null_nor_bytes(told: Told, reader: Reader) -> None:
    """Redacted and erased values, in every view; nobody is shown what they are kept as."""
    for view in ("state", "blame"):
        reader.open("document", ns=told.ns("secrets"), id="1", at=1, view=view)
        shown = reader.text(".state" if view == "state" else ".blame")
        for text in ("drop: <redacted>", "mask: <masked …1234>", "hash: <hash 3fa9…>", "erased: <erased>", "null"):
            assert _guillemets(text) in shown, (view, text)
    reader.open("document", ns=told.ns("secrets"), id="1")
    assert _guillemets("mask: <masked …1234> → <erased>") in reader.text(".state")
    assert _guillemets("mask <masked …1234> → <erased>") in reader.text(".versions")


def _guillemets(text: str) -> str:
    """What is withheld is written between single ones."""
    return text.translate({ord("<"): "\u2039", ord(">"): "\u203a"})


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_nothing_is_in_the_way_of_anybody(told: Told, driver: Any, program: str, width: int, scheme: str) -> None:
    """WCAG 2.2 AA, by axe-core; no page is wider than a phone."""
    reader = Reader(driver, told.served.url)
    reader.emulate(width=width, scheme=scheme)
    of = orders(told)
    pages: list[tuple[str, dict[str, Any]]] = [
        ("", {}),
        ("collection", {"ns": told.ns("orders")}),
        ("collection/deleted", {"ns": told.ns("customers")}),
        ("document", {**of, "at": 2}),
        ("document", {"ns": told.ns("customers"), "id": "ann"}),
        *(("document", {**of, "view": view}) for view in ("changes", "blame", "raw")),
        ("document", {**of, "field": "status"}),
        ("document", {"ns": told.ns("fields"), "id": "1"}),
        ("document/part", {"ns": told.ns("large"), "id": "1", "path": '["list"]'}),
        ("document/compare", {**of, "a": 1, "b": 4}),
        ("document/compare", {**of, "a": 1, "b": 4, "mode": "inline"}),
        ("search", {"q": "17"}),
        ("across", {"ns": told.ns("customers"), "id": "ann"}),
        ("follow", {}),
        ("gaps", {}),
        ("rejected", {}),
        ("actor", {"who": "alice"}),
        ("document", {"ns": told.ns("nothing"), "id": "1"}),
    ]
    if scheme == "light":  # the markup is the same
        pages = pages[:5]
    offences = []
    for page, asked in pages:
        reader.open(page, **asked)
        offences += [f"{page} {asked}: {said}" for said in reader.offences(program)]
        overflow = driver.execute_script("return document.documentElement.scrollWidth - innerWidth")
        if overflow > 0:
            offences.append(f"{page} {asked}: {overflow} pixels too wide")
    assert offences == []


def test_without_javascript_everything_can_be_read(told: Told, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Versions, blame, parts of large documents: by links and forms."""
    _required(browsers.missing())
    with browsers.browser(tmp_path_factory.mktemp("plain"), javascript=False) as driver:
        reader = Reader(driver, told.served.url)
        reader.open("document", **orders(told))
        assert "UTC" in reader.find(".meta time").text
        reader.find("#previous").click()
        reader.waits_for(3)
        reader.find("#at").send_keys("1", ENTER)
        reader.waits_for(1)
        reader.find(".tabs a[href*='view=blame']").click()
        assert reader.all(".blame tbody tr")
        reader.open("document", ns=told.ns("large"), id="1")
        reader.find(".tree summary").click()
        reader.find(".lazy a").click()
        assert "n: 0" in reader.find("#part").text
        reader.open("follow")
        assert reader.all(".events > li")


def test_large_documents_open_as_far_as_they_are_wanted(told: Told, reader: Reader) -> None:
    """Many fields, long values, many versions: what changed is shown, the rest on request."""
    reader.open("document", ns=told.ns("fields"), id="1")
    assert f'field{FIELDS - 5}: {FIELDS - 5} → "changed"' in reader.text(".state .leaf.chg")
    assert len(reader.all(".state .leaf")) < 500
    reader.find(".rest a").click()
    eventually(lambda: len(reader.all(".state .leaf")) > 390, "more fields", 60)
    reader.open("document", ns=told.ns("large"), id="1", at=1)
    reader.find(".tree details[data-part] > summary").click()
    eventually(lambda: len(reader.all(".tree details .leaf")) >= 200, "the elements", 60)
    reader.open("document", ns=told.ns("versions"), id="1")
    assert reader.version() == VERSIONS + 1
    assert len(reader.all(".versions > li")) <= 52
    reader.follow_link("Older versions")
    eventually(lambda: reader.texts(".versions b")[0] == str(VERSIONS + 1 - 50), "older ones", 60)
    reader.find(f"a[href*='at={VERSIONS - 60}']").click()
    reader.waits_for(VERSIONS - 60)
    assert f"n: {VERSIONS - 62} → {VERSIONS - 61}" in reader.text(".state .leaf.chg")


def test_a_deeply_nested_document_is_opened_step_by_step(told: Told, reader: Reader) -> None:
    """As deep as a server takes it."""
    of = {"ns": told.ns("odd"), "id": "deep"}
    reader.open("document", **of)
    assert "d.d.d" in reader.text(".jumps, .tree") or reader.all("details[data-part]")
    reader.open("document/part", **of, path=json.dumps(["d"] * (DEPTH - 5)))
    assert "leaf: 1 → 2" in reader.text("#part .leaf.chg")
    reader.open("document", **of, view="changes")
    assert reader.text(".diff").endswith("leaf 1 → 2")


def test_what_cannot_be_read_is_said_in_words(told: Told) -> None:
    """No fault of the server, whatever stands in an address."""
    event = bytes(next(told.history.log(told.ns("orders"), 18)).id).hex()
    order = f"ns={told.ns('orders')}&id=17"
    for address, status in {
        "/document": 400,
        "/document?ns=x&id=1": 400,
        f"/document?ns={told.ns('orders')}": 400,
        f"/document?{order}&at=never": 400,
        f"/document?{order}&at=99": 404,
        f"/document?{order}&at=0": 404,
        f"/document?{order}&at=-99": 404,
        f"/document?{order}&event={event}": 404,
        f"/document?{order}&event=zz": 400,
        f"/document?{order}&to=99999999999999999999": 200,
        f"/document/part?{order}&path=nothing": 400,
        f"/document/part?{order}&path=[1]": 404,
        f"/value?event={event}&change=99": 404,
        f"/document?ns={told.ns('orders')}&id=" + "[" * 6000: 400,
        "/search?q=" + "[" * 6000: 400,
        "/search?q=" + '{"a":' * 2000: 400,
        "/transaction?name=x": 400,
        "/transaction?name=abcdabcd:1": 404,
        f"/collection?ns={told.ns('orders')}&before=x": 400,
        f"/collection?ns={told.ns('orders')}&span=x": 200,
        "/nothing": 404,
        "/event?id=": 400,
        "/actor": 400,
    }.items():
        found = told.served.get(address.replace('"', "%22").replace("{", "%7B").replace("[", "%5B").replace("]", "%5D"))
        assert found.status == status, (address[:100], found.body[-600:])
        assert b"<h1" in found.body, address[:100]


def test_a_long_value_can_be_had_whole(told: Told) -> None:
    """As plain text, which no browser takes for anything else."""
    page = told.served.get(f"/document?ns={told.ns('large')}&id=1")
    assert len(page.body) < 200_000
    address = re.search(rb'class="all" href="([^"]+)"', page.body)
    assert address is not None
    whole = told.served.get(unescape(address[1].decode()))
    assert whole.body == b"y" * BLOB
    assert whole.headers["content-type"] == "text/plain; charset=utf-8"
    assert whole.headers["x-content-type-options"] == "nosniff"


def test_the_first_page_is_small(told: Told) -> None:
    """With all that it loads, compressed."""
    page = told.served.get("/")
    assets = re.findall(rb'(?:href|src)="(/static/[^"]+)"', page.body)
    script = told.served.get(next(each.decode() for each in assets if b"page.js" in each)).body
    modules = [b"/static/" + name for name in re.findall(rb'from "\./([a-z]+\.js)"', script)]
    everything = [page.body, *(told.served.get(each.decode()).body for each in {*assets, *modules})]
    assert sum(len(gzip.compress(body)) for body in everything) < LARGEST_FIRST_PAGE


def test_what_one_may_not_read_looks_like_what_does_not_exist(told: Told) -> None:
    """On every page, for somebody who may read the orders alone."""
    cookie = {"cookie": f"watcher_token={TOKEN}"}

    def get(page: str) -> tuple[int, bytes]:
        reply = told.guarded.get(page, **cookie)
        return reply.status, reply.body

    forbidden, none = told.ns("products"), told.ns("nothing")
    shapes: list[Callable[[str], str]] = [
        lambda ns: f"/collection?ns={ns}",
        lambda ns: f"/collection/deleted?ns={ns}",
        lambda ns: f"/document?ns={ns}&id=lamp",
        lambda ns: f"/document/compare?ns={ns}&id=lamp",
        lambda ns: f"/document/raw?ns={ns}&id=lamp",
        lambda ns: f"/across?ns={ns}&id=lamp",
        lambda ns: f"/follow?ns={ns}",
        lambda ns: f"/search?q=lamp&ns={ns}",
        lambda ns: f"/gaps?ns={ns}",
    ]
    for shape in shapes:
        status, body = get(shape(forbidden))
        assert (status, body.replace(forbidden.encode(), none.encode())) == get(shape(none)), shape("")
        assert status == 404, shape("")
    event = bytes(next(told.history.log(forbidden, "lamp")).id).hex()
    unknown = "f" * 32
    assert get(f"/event?id={event}") == get(f"/event?id={unknown}")
    assert get(f"/document?of={event}") == get(f"/document?of={unknown}")
    transaction = next(event for event in told.history.log(told.ns("orders"), 17) if event.transaction is not None)
    name = f"{bytes(transaction.id).hex()}"
    assert b"orders" in get(f"/transaction?name={name}")[1]
    for page in (
        "/",
        "/search?q=lamp",
        f"/transaction?name={name}",
        "/follow",
        f"/across?ns={told.ns('orders')}&id=17",
    ):
        assert b"products" not in get(page)[1], page
    assert told.guarded.get("/").status in {303, 401}


def test_the_raw_document_is_exact(told: Told) -> None:
    """Canonical Extended JSON, all of it."""
    found = told.served.get(f"/document/raw?ns={told.ns('orders')}&id=17&at=2")
    assert found.headers["content-type"].startswith("application/json")
    assert json.loads(found.body) == json.loads(extended_json.dumps(told.history.as_of(told.ns("orders"), 17, 2)))


def test_behind_a_proxy_every_address_has_its_path(told: Told, replica_set_uri: str, tmp_path: Path) -> None:
    """Links, forms, assets, and what scripts fetch."""
    history = told.recording.history.name
    with Served(tmp_path / "log", uri=replica_set_uri, history_database=history, serve_root_path="/history") as proxied:
        for page in (
            "/",
            f"/document?ns={told.ns('orders')}&id=17",
            f"/follow?ns={told.ns('orders')}",
            "/document?ns=x.y",
        ):
            body = proxied.get(f"/history{page}").body.decode()
            addresses = re.findall(r'(?:href|src|action|data-[a-z]+)="(/[^"]*)"', body)
            assert addresses
            assert all(address.startswith("/history/") for address in addresses), page
        assert (
            proxied.get("/history" + next(a for a in addresses if "style.css" in a).removeprefix("/history")).status
            == 200
        )


def test_two_ends_of_a_gap_are_not_one_version(told: Told) -> None:
    """A time before the first version shows that nothing is recorded of it by then."""
    first = next(told.history.log(told.ns("orders"), 17))
    moment = before(ClusterTime.of(first.cluster_time)).cluster_time
    found = told.served.get(f"/document?ns={told.ns('orders')}&id=17&at={moment.seconds - 5}:1")
    assert found.status == 200
    assert b"Nothing is recorded of it up to then" in found.body
