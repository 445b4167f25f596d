"""What the server lets through is what the client thinks it does, whatever the names and globs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from pymongo.database import Database

OWN = "history"
PIECES = [
    "a",
    "b",
    "ab",
    ".",
    "\n",
    "$",
    "^",
    "(",
    ")",
    "|",
    "+",
    "\\",
    "\\d",
    "{2}",
    "]",
    "-",
    "!",
    "é",
    "漢",
    "😀",
    " ",
]
MAGIC = ["*", "*", "?", "[ab]", "[!a]", "[a-b]", "[]x]", "["]

db_names = st.sampled_from(["a", "b", "ab", "a-b", "ä", "a+", "a(b", OWN])
collection_names = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join)
db_globs = st.one_of(db_names, st.sampled_from(["*", "a*", "?", "[ab]", "[!a]*", "*b"]))
collection_globs = st.one_of(
    collection_names, st.just("*"), st.lists(st.sampled_from(PIECES + MAGIC), min_size=1, max_size=5).map("".join)
)
globs = st.tuples(db_globs, collection_globs).map(".".join)
namespaces = st.tuples(db_names, collection_names)


def let_through(database: Database[Any], scope: Scope, *events: dict[str, Any]) -> list[bool]:
    """Which events the scope's condition lets through, asked of the server."""
    database.events.delete_many({})
    database.events.insert_many([{"_id": number, **event} for number, event in enumerate(events)])
    found = {event["_id"] for event in database.events.find(scope.match())}
    return [number in found for number in range(len(events))]


def in_stream(scope: Scope, name: tuple[str, str]) -> bool:
    """Whether the stream itself, by the database or collection it is opened on, tells of a namespace."""
    return scope.database in {None, name[0]} and scope.collection in {None, name[1]}


@settings(max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    include=st.lists(globs, min_size=1, max_size=3),
    exclude=st.lists(globs, max_size=2),
    names=st.lists(namespaces, min_size=1, max_size=12),
)
def test_server_and_client_agree(
    database: Database[Any], include: list[str], exclude: list[str], names: list[tuple[str, str]]
) -> None:
    """Otherwise a collection has pre-images and no history, or history and no pre-images."""
    scope = Scope(tuple(include), tuple(exclude), OWN)
    if scope.collection is not None and exclude:
        return  # see test_an_exclude_counts_for_a_single_collection_too
    names = [name for name in names if in_stream(scope, name)]
    if not names:
        return
    asked = [{"operationType": "insert", "ns": {"db": db, "coll": coll}} for db, coll in names]

    assert let_through(database, scope, *asked) == [scope.covers(*name) for name in names]


def test_an_exclude_counts_for_a_single_collection_too(database: Database[Any]) -> None:
    """What is excluded must not be recorded, however it was included."""
    scope = Scope(("shop.secret",), ("shop.s*",), OWN)
    event = {"operationType": "insert", "ns": {"db": "shop", "coll": "secret"}}

    assert let_through(database, scope, event) == [scope.covers("shop", "secret")]


def rename(old: str, new: str) -> dict[str, Any]:
    """The event of a rename."""
    (old_db, _, old_name), (new_db, _, new_name) = old.partition("."), new.partition(".")
    return {
        "operationType": "rename",
        "ns": {"db": old_db, "coll": old_name},
        "to": {"db": new_db, "coll": new_name},
    }


DROPPED = {"operationType": "dropDatabase", "ns": {"db": "shop"}}


@pytest.mark.parametrize(
    ("include", "exclude", "event", "expected"),
    [
        (["shop.a"], [], rename("shop.a", "shop.b"), True),
        (["shop.b", "shop.c"], [], rename("shop.a", "shop.b"), True),
        (["shop.c", "shop.d"], [], rename("shop.a", "shop.b"), False),
        (["shop.*"], ["shop.a"], rename("shop.a", "shop.b"), True),
        (["shop.*"], ["shop.b"], rename("shop.a", "shop.b"), True),
        (["shop.*"], ["shop.a", "shop.b"], rename("shop.a", "shop.b"), False),
        (["shop.*"], [], DROPPED, True),
        (["shop.a", "crm.b"], [], DROPPED, True),
        (["crm.*"], [], DROPPED, False),
        (["*.*"], ["shop.a"], DROPPED, True),
        (["*.*"], ["shop.*"], DROPPED, False),
        (["shop.a", "crm.b"], [], {"operationType": "invalidate"}, True),
        (["shop.*"], ["shop.*"], {"operationType": "invalidate"}, True),
    ],
)
def test_events_about_more_than_one_document(
    database: Database[Any], include: list[str], exclude: list[str], event: dict[str, Any], *, expected: bool
) -> None:
    """Either name of a rename counts; a whole database's end, if anything in it is watched; the stream's end always."""
    assert let_through(database, Scope(tuple(include), tuple(exclude), OWN), event) == [expected]


@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")
def test_brackets_within_brackets_mean_the_same_on_both_sides(database: Database[Any]) -> None:
    """A glob that the server refuses ends the daemon with a riddle."""
    scope = Scope(("shop.*", "crm.[a[:alpha:]]"), (), OWN)
    names = [("crm", "a]"), ("crm", "l]"), ("crm", "z]"), ("crm", "z")]
    asked = [{"ns": {"db": db, "coll": coll}} for db, coll in names]

    assert let_through(database, scope, *asked) == [scope.covers(*name) for name in names]
