"""The shop whose pages the tests look at: what is recorded of it, who serves it, and who reads with a real Chromium."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from bson import Binary, Decimal128
from bson.raw_bson import RawBSONDocument

from change_history.bson import extended_json, raw, redacted
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.redacted import How
from change_history.reader import Reader as Stored
from tests.support import browser as browsers
from tests.support.browser import Reader
from tests.support.daemon import FULL_SIZE, ROOT
from tests.support.recording import Recording
from tests.support.web import Served
from watcher.gaps import gap
from watcher.web.tokens import hash_of

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    required(browsers.missing())
    with browsers.browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The accessibility checker; likewise."""
    found = browsers.axe(tmp_path_factory.mktemp("axe"))
    required(None if found else "axe-core is needed: PyPI, or WATCHER_TEST_AXE=…/axe.min.js")
    return found or ""


def required(lacking: str | None) -> None:
    """Fail in CI, and skip elsewhere, where something is lacking."""
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


def dry_run(told: Told, uri: str, command: str) -> str:
    """What a command that is shown says it would do."""
    settings = {"WATCHER_MONGODB_URI": uri, "WATCHER_HISTORY_DATABASE": told.recording.history.name}
    asked = [sys.executable, "-m", *shlex.split(command)]
    environment = {**os.environ, **settings}
    done = subprocess.run(asked, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
