"""What holds on every page: hostile text, access, errors in words, no JavaScript, WCAG."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import browser as browsers
from tests.support.browser import ENTER, Reader
from tests.support.pages import (
    EVIL_ID,
    LARGEST_FIRST_PAGE,
    TOKEN,
    Told,
    orders,
    required,
)
from tests.support.web import Served

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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
        ("actors", {}),
        ("seals", {}),
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
    required(browsers.missing())
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
