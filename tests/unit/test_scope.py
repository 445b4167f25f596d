"""Globs → what is asked of the server. A glob misread is a collection that nobody watches."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from watcher.targets.scope import SYSTEM_DATABASES, Scope, _server_regex


def scope(include: str, exclude: str = "") -> Scope:
    """A scope from comma-separated globs."""
    return Scope(tuple(include.split(",")), tuple(exclude.split(",")) if exclude else (), "history")


@pytest.mark.parametrize(
    ("include", "database", "collection"),
    [
        ("shop.users", "shop", "users"),
        ("shop.users,shop.users", "shop", "users"),
        ("shop.a.b.c", "shop", "a.b.c"),
        ("shop.*", "shop", None),
        ("shop.u?", "shop", None),
        ("shop.[ab]", "shop", None),
        ("shop.a[", "shop", None),
        ("shop.a,shop.b", "shop", None),
        ("shop.a,shop.*", "shop", None),
        ("shop.a,crm.a", None, None),
        ("*.*", None, None),
        ("*.users", None, None),
        ("sho?.users", None, None),
        ("[s]hop.users", None, None),
    ],
)
def test_the_stream_is_as_narrow_as_possible_and_never_narrower(
    include: str, database: str | None, collection: str | None
) -> None:
    """Too wide reads the whole oplog through; too narrow loses what is included."""
    found = scope(include)

    assert (found.database, found.collection) == (database, collection)


@pytest.mark.parametrize(
    ("include", "exclude", "covered", "not_covered"),
    [
        ("shop.*", "", ["shop.a", "shop.a.b", "shop.a\nb", "shop.$x", "shop.ünï"], ["shops.a", "xshop.a", "sho.a"]),
        ("shop.a.*", "", ["shop.a.b", "shop.a.b.c"], ["shop.a", "shop.ab"]),
        ("shop.a?c", "", ["shop.abc", "shop.a.c", "shop.a\nc", "shop.a漢c"], ["shop.ac", "shop.abbc", "shop.abc\n"]),
        ("shop.[ab]*", "", ["shop.a", "shop.b.c"], ["shop.c", "shop."]),
        ("shop.[!a]", "", ["shop.b", "shop.!", "shop.\n"], ["shop.a", "shop.bb"]),
        ("shop.[]x]", "", ["shop.]", "shop.x"], ["shop.a"]),
        ("shop.[a-c]", "", ["shop.b"], ["shop.d", "shop.-"]),
        ("shop.[c-a]x", "", [], ["shop.bx", "shop.-x"]),
        ("shop.[^a]", "", ["shop.^", "shop.a"], ["shop.b"]),
        ("shop.a[", "", ["shop.a["], ["shop.a"]),
        ("shop.a+b|c", "", ["shop.a+b|c"], ["shop.aab", "shop.c"]),
        ("shop.(a)*", "", ["shop.(a)b"], ["shop.ab"]),
        ("shop.*\\d", "", ["shop.x\\d"], ["shop.x1"]),
        ("shop.^a$", "", ["shop.^a$"], ["shop.a"]),
        ("s.h.*", "", ["s.h.x"], ["s.hx", "sxh.x"]),
        ("*.*", "secret.*,*.tmp", ["shop.a", "secrets.a", "shop.tmp.a"], ["secret.a", "secret.a.b", "shop.tmp"]),
        ("shop.A", "", ["shop.A"], ["shop.a"]),
        ("*.*", "", ["a.b"], ["history.x", "admin.x", "local.oplog.rs", "config.x", "shop.system.views"]),
    ],
)
def test_what_is_covered(include: str, exclude: str, covered: list[str], not_covered: list[str]) -> None:
    """The client's own judgement, by which pre-images are switched on."""
    found = scope(include, exclude)
    split = [name.partition(".") for name in covered + not_covered]

    assert [found.covers(database, collection) for database, _, collection in split] == [
        *([True] * len(covered)),
        *([False] * len(not_covered)),
    ]


def test_our_own_and_the_systems_databases_are_never_covered() -> None:
    """Also when they are named: recording history's history has no end."""
    for database in (*SYSTEM_DATABASES, "history"):
        assert not scope(f"{database}.*,*.*").covers(database, "a")


def test_a_collection_stream_asks_for_nothing_but_its_collection() -> None:
    """The stream is the filter there."""
    assert scope("shop.users").match() == {"ns.db": {"$ne": "history"}}


def test_the_end_of_the_stream_is_always_let_through() -> None:
    """A swallowed invalidate is a cursor that just closes, with a position that cannot be resumed."""
    conditions: list[dict[str, Any]] = scope("shop.a*").match()["$and"]

    assert {"operationType": "invalidate"} in conditions[1]["$or"]


def test_the_description_tells_scopes_apart_and_only_these() -> None:
    """It is stored with the checkpoint and compared."""
    assert scope("a.b,c.d").describe() == scope("c.d,a.b,a.b").describe()
    different = [scope("a.b"), scope("a.*"), scope("a.b", "a.c"), Scope(("a.b",), (), "other")]
    assert len({str(found.describe()) for found in different}) == 4


@pytest.mark.parametrize("glob", ["*", "a*b*c", "?", "[a-c]*", "a.b*", "[]]*", "x\ny*"])
def test_a_servers_regex_is_bound_at_both_ends(glob: str) -> None:
    r"""`$` would also match before a last line break, and an unbound one anywhere."""
    regex = _server_regex(glob)

    assert regex.startswith(r"\A(?s:")
    assert regex.endswith(r")\z")
    re.compile(regex.replace(r"\z", r"\Z"))


def test_context_documents_are_let_through_and_never_watched() -> None:
    """They lie beside what is included; and a checkpoint that was made without them stays valid."""
    plain, wide = scope("shop.users"), replace(scope("shop.users"), contexts="watcher_context")
    assert wide.describe() == plain.describe()
    assert (wide.widened, plain.widened, replace(scope("shop.*"), contexts="watcher_context").widened) == (
        True,
        False,
        False,
    )
    everything = replace(scope("*.*"), contexts="watcher_context")
    assert everything.covers("shop", "users")
    assert not everything.covers("shop", "watcher_context")
    assert everything.match() == scope("*.*").match()
