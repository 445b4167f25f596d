"""A position is given up only when the server has said more than once that it is lost: a gap is for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient

from tests.support.change_stream import batches_until, events_of, ids, until_insert_of
from watcher.errors import PositionDoubtedError, Verdict, classify, name_of
from watcher.stream.listener import DOUBTS, Listener
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from watcher.embedded.mongod import Mongod

CODES = {286: "ChangeStreamHistoryLost (286)", 280: "ChangeStreamFatalError (280)", 136: "CappedPositionLost (136)"}


@pytest.fixture
def client(own_server: Callable[..., Mongod]) -> Iterator[MongoClient[Any]]:
    """A client of a server with fail points."""
    server = own_server(extra_args=("--setParameter", "enableTestCommands=1"))
    with MongoClient[dict[str, Any]](server.uri) as connected:
        yield connected


def _fail(client: MongoClient[Any], code: int, times: int) -> None:
    data = {"failCommands": ["getMore"], "errorCode": code, "errorLabels": ["NonResumableChangeStreamError"]}
    client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": times}, "data": data})


def _listener(client: MongoClient[Any], *, skip: bool) -> Listener:
    listener = Listener(client, Scope(("shop.*",), (), "history"), 10, None, pre_images=True, skip_what_is_lost=skip)
    listener.next_batch()
    return listener


def _doubts(listener: Listener, code: int) -> None:
    with pytest.raises(PositionDoubtedError) as caught:
        listener.next_batch()
    assert classify(caught.value) is Verdict.TRANSIENT
    assert name_of(caught.value) == CODES[code]
    assert listener.next_batch().events == []  # opened anew; that says nothing of the position yet


@pytest.mark.parametrize("skip", [True, False], ids=["a gap is recorded", "a gap ends the daemon"])
def test_a_passing_word_of_a_lost_position_costs_no_event(client: MongoClient[Any], *, skip: bool) -> None:
    """Each time it is asked anew from the beginning: a daemon that runs for a year hears it more than five times."""
    listener = _listener(client, skip=skip)
    for number in range(2):
        client.shop.a.insert_one({"_id": number})
        for code in CODES:
            _fail(client, code, 1)
            _doubts(listener, code)
        batches = batches_until(listener, until_insert_of(number))
        assert ids(events_of(batches)) == [number]
        assert [batch.lost for batch in batches] == [None] * len(batches)


def test_what_the_server_says_again_and_again_is_believed(client: MongoClient[Any]) -> None:
    """Otherwise the daemon would try for ever, and record nothing any more."""
    listener = _listener(client, skip=True)
    position = listener._position
    _fail(client, 286, DOUBTS)
    for _ in range(DOUBTS - 1):
        _doubts(listener, 286)
    lost = listener.next_batch().lost

    assert lost is not None
    assert lost.position == position
    assert lost.cause == CODES[286]
