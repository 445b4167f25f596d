"""A collection is included or excluded by its very name, whatever characters that has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import bson
import pytest

from tests.support import hostile_names
from tests.support.change_stream import batches_until, events_of, until_insert_of
from watcher.stream.listener import Listener
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from pymongo.database import Database


def exactly(name: str) -> str:
    """The glob that means this name alone."""
    return re.sub(r"([*?\[])", r"[\1]", name)


@pytest.mark.parametrize("include", [True, False], ids=["include", "exclude"])
def test_a_name_means_itself_and_nothing_else(database: Database[Any], include: bool) -> None:  # noqa: FBT001
    """To the server's filter and to our own; the other names are those that a careless pattern would match."""
    names = [name for name in hostile_names.COLLECTIONS if len(name) < 100]
    globs = {name: f"{database.name}.{exactly(name)}" for name in names}
    everything = (f"{database.name}.*",)
    scopes = {
        name: Scope((glob, f"{database.name}.end"), (), "h") if include else Scope(everything, (glob,), "h")
        for name, glob in globs.items()
    }
    listeners = {name: Listener(database.client, scope, 1000, None, pre_images=False) for name, scope in scopes.items()}
    for listener in listeners.values():
        listener.next_batch()
    for name in names:
        database.command({"insert": name, "documents": [{"_id": name}]})
    database["end"].insert_one({"_id": "end"})

    for name, listener in listeners.items():
        events = [bson.decode(event) for event in events_of(batches_until(listener, until_insert_of("end")))]
        told = {event["ns"]["coll"] for event in events} - {"end"}
        listener.close()
        assert told == ({name} if include else set(names) - {name}), name
        assert {other for other in names if scopes[name].covers(database.name, other)} == told, name
