"""The page of a document, read by somebody with a real Chromium, and compared with what `History` tells."""

from __future__ import annotations

import json
import re
from html import unescape
from zoneinfo import ZoneInfo

import pytest

from change_history.bson import extended_json
from change_history.bson.cluster_time import ClusterTime
from change_history.diff.compare import DifferenceKind
from change_history.stored.order import before
from tests.support.browser import DOWN, END, ENTER, ESCAPE, HOME, LEFT, RIGHT, Reader
from tests.support.daemon import eventually
from tests.support.pages import (
    BLOB,
    DEPTH,
    FIELDS,
    VERSIONS,
    Told,
    document_shown,
    dry_run,
    orders,
)


def test_who_changed_the_status_when_and_what_was_it_before(told: Told, reader: Reader) -> None:
    """The one task: from the first page, by typing and clicking."""
    reader.open("")
    reader.find("#q").send_keys("17", ENTER)
    reader.find(".hits .doc").click()
    leaf = next(
        leaf for leaf in reader.all(".leaf") if leaf.text.startswith(("status", "changed")) or "status" in leaf.text
    )
    reader.hover(leaf)
    card = eventually(lambda: "Version" in reader.text("#card") and reader.text("#card"), "who set it", 60)
    events = list(told.history.log(told.ns("orders"), 17, field="status"))
    last = events[-1]
    assert "Version 4" in card
    assert '"paid"' in card
    assert '"shipped"' in card
    assert last.timestamp.strftime("%H:%M:%S") in card
    reader.find("#card a[href*='field=status']").click()
    rows = reader.texts(".events > li:not(.gap) .what")
    for row, event in zip(rows, reversed(events), strict=True):
        assert event.timestamp.strftime("%Y-%m-%d %H:%M:%S") in row
    assert "alice" in rows[1]
    assert '"new" → "paid"' in rows[1]
    assert "ticket 7" in rows[1]
    assert [row.split(" ")[1] for row in rows] == ["4", "2", "1"]


def test_the_history_of_a_field_says_what_it_cannot_know_and_how_to_get_a_value_back(
    told: Told, reader: Reader, replica_set_uri: str
) -> None:
    """A gap lies between two of its changes; the command is one that works."""
    reader.open("document", **orders(told), field="status")
    assert "the oplog was cut" in reader.text(".events > li.gap")
    assert "without a trace" in reader.text(".box.warn")
    reader.find("details.copy summary").click()
    command = reader.text("#command")
    assert command == f"watcher revert {told.ns('orders')} 17 --to 3 --field status"
    assert '"paid"' in dry_run(told, replica_set_uri, command)


def test_an_earlier_version_has_the_command_that_brings_it_back(
    told: Told, reader: Reader, replica_set_uri: str
) -> None:
    """Which is one that works; of what a document is already, there is none."""
    reader.open("document", **orders(told), at=2)
    reader.find("details.copy summary").click()
    assert '"paid"' in dry_run(told, replica_set_uri, reader.text("#command"))
    reader.open("document", **orders(told))
    assert not reader.all("#command")


@pytest.mark.parametrize("width", [1280, 390])
def test_a_version_in_the_middle_is_in_sight_in_the_timeline(told: Told, reader: Reader, width: int) -> None:
    """At first, and after stepping; the page itself stays where it is."""
    reader.emulate(width=width)
    sight = """
        const box = document.querySelector(".left").getBoundingClientRect();
        const row = document.querySelector(".versions .here").getBoundingClientRect();
        return row.top >= box.top - 1 && row.bottom <= box.bottom + 1 && scrollY === 0"""
    reader.open("document", ns=told.ns("versions"), id="1", at=60)
    assert reader.driver.execute_script(sight)
    reader.driver.execute_script("document.querySelector('.left').scrollTop = 0")
    reader.type(LEFT)
    reader.waits_for(59)
    assert reader.driver.execute_script(sight)


def test_who_set_a_value_does_not_cover_the_other_values(told: Told, reader: Reader) -> None:
    """One reads on below it."""
    reader.open("document", **orders(told))
    covered = """
        const card = document.getElementById("card").getBoundingClientRect();
        const meets = (e) => e.right > card.left && e.left < card.right && e.bottom > card.top && e.top < card.bottom;
        return [...document.querySelectorAll(".state .leaf")].filter((e) => meets(e.getBoundingClientRect())).length"""
    for width in (1280, 820, 390):
        reader.emulate(width=width)
        reader.driver.execute_script("scrollTo(0, document.querySelector('.state').offsetTop - 200)")
        leaf = reader.find(".state .leaf")
        leaf.click()
        eventually(lambda: "Version 1" in reader.text("#card"), "who set it", 60)
        assert reader.find("#card").is_displayed()
        assert reader.driver.execute_script(covered) == 0, width
        reader.type(ESCAPE)
        eventually(lambda: not reader.find("#card").is_displayed(), "the card goes", 60)


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


def test_the_last_of_several_steps_counts_however_fast_they_come(told: Told, reader: Reader) -> None:
    """An answer that comes late would show a version that was left already; a held key would show none."""
    reader.open("document", **orders(told))
    for _ in range(5):
        reader.find("#slider").send_keys(HOME, END, LEFT)
        reader.waits_for(3)
        reader.find("#slider").send_keys(END)
        reader.waits_for(4)
    held = """
        for (let times = 0; times < 40; times++)
            document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowLeft", bubbles: true}))
    """
    for number in (3, 2, 1):
        reader.driver.execute_script(held)
        reader.waits_for(number)


def test_what_changed_is_marked_in_its_place(told: Told, reader: Reader) -> None:
    """As `History.differences` has it; blame by keyboard."""
    reader.open("document", **orders(told), at=2)
    shown = reader.texts(".state .leaf.chg, .state .leaf.add, .state .leaf.del")
    differences = told.history.differences(told.ns("orders"), 17, 1, 2)
    assert len(shown) == len(differences)
    assert any('status: "new" → "paid"' in each for each in shown)
    assert any("qty: 2 → 3" in each for each in shown)
    assert any("removed" in each and "note: null" in each for each in shown)
    assert {one.kind for one in differences} == {DifferenceKind.CHANGED, DifferenceKind.REMOVED}
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


def test_versions_are_compared_inline_on_a_phone_unless_one_chooses(told: Told, reader: Reader) -> None:
    """There is no room for two columns; neither way makes one scroll sideways."""
    wider = """
        return [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1
            || (e.scrollWidth > e.clientWidth + 1 && ["auto", "scroll"].includes(getComputedStyle(e).overflowX)))
            .map((e) => e.outerHTML.slice(0, 200))"""
    reader.emulate(width=390)
    reader.open("document/compare", **orders(told), a=1, b=4)
    assert not reader.find(".side").is_displayed()
    assert reader.find(".state .tree").is_displayed()
    (current,) = [each.text for each in reader.all(".tabs [aria-current]") if each.is_displayed()]
    assert current == "Inline"
    assert reader.driver.execute_script(wider) == []
    reader.follow_link("Side by side")
    assert reader.find(".side").is_displayed()
    assert not reader.all(".state .tree")
    assert reader.driver.execute_script(wider) == []
    reader.emulate(width=1280)
    reader.open("document/compare", **orders(told), a=1, b=4)
    assert reader.find(".side").is_displayed()
    assert not reader.find(".state .tree").is_displayed()


def test_what_was_erased_is_not_offered_to_be_brought_back(told: Told, reader: Reader) -> None:
    """The command would bring back marks in place of values, or nothing."""
    reader.open("document", ns=told.ns("secrets"), id="2")
    assert not reader.all("#command")
    assert "nothing left to bring back" in reader.text()
    reader.open("collection/deleted", ns=told.ns("secrets"))
    assert not reader.all(".gone code")
    assert "nothing left to bring back" in reader.text(".gone")


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


def test_the_raw_document_is_exact(told: Told) -> None:
    """Canonical Extended JSON, all of it."""
    found = told.served.get(f"/document/raw?ns={told.ns('orders')}&id=17&at=2")
    assert found.headers["content-type"].startswith("application/json")
    assert json.loads(found.body) == json.loads(extended_json.dumps(told.history.as_of(told.ns("orders"), 17, 2)))


def test_two_ends_of_a_gap_are_not_one_version(told: Told) -> None:
    """A time before the first version shows that nothing is recorded of it by then."""
    first = next(told.history.log(told.ns("orders"), 17))
    moment = before(ClusterTime.of(first.cluster_time)).cluster_time
    found = told.served.get(f"/document?ns={told.ns('orders')}&id=17&at={moment.seconds - 5}:1")
    assert found.status == 200
    assert b"Nothing is recorded of it up to then" in found.body


def test_times_are_the_readers_with_utc_at_hand(told: Told, reader: Reader) -> None:
    """In a zone far away, and back; values that are dates stay what they are."""
    reader.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Pacific/Kiritimati"})
    reader.open("document", **orders(told), at=2)
    event = list(told.history.log(told.ns("orders"), 17))[1]
    here = event.timestamp.astimezone(ZoneInfo("Pacific/Kiritimati")).isoformat(" ", "milliseconds")[:23]
    there = event.timestamp.isoformat(" ", "milliseconds")[:23]
    assert reader.text(".meta time") == here
    assert reader.find(".meta time").get_attribute("title") == f"{there} UTC"
    assert reader.find("#zone").text == "Times: local"
    reader.find("#zone").click()
    assert reader.find("#zone").text == "Times: UTC"
    assert reader.text(".meta time") == f"{there} UTC"
    reader.find("#zone").click()
    now, other = ("light", "dark") if "light" in reader.find("#theme").text else ("dark", "light")
    assert reader.find("#theme").accessible_name == f"Theme: {now}, switch to {other}"
    reader.find("#theme").click()
    assert reader.find("#theme").text == f"Theme: {other}"
    reader.find("#theme").click()
    reader.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})


def test_what_nobody_knows_is_not_shown_as_nothing(told: Told, reader: Reader) -> None:
    """An old value that no pre-image told."""
    reader.open("event", id=bytes(list(told.history.log(told.ns("blind"), 1))[-1].id).hex())
    assert "old unknown → 2" in reader.text(".diff")
