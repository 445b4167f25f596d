"""The connections of an application that uses mongoengine."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import mongoengine as me

from change_history import mongoengine as history_of_models

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pymongo.database import Database

    from tests.support.recording import Recording


@contextmanager
def connected(
    alias: str, database: Database[Any], recording: Recording, uri: str, models: Sequence[Any]
) -> Iterator[None]:
    """The application's connection and its history's, until the end of the block.

    Args:
        models: document classes; they forget their collections afterwards, which are those of the closed connection.
    """
    me.connect(db=database.name, host=uri, alias=alias, uuidRepresentation="standard")
    history_of_models.connect(uri, recording.history.name)
    try:
        yield
    finally:
        history_of_models.disconnect()
        me.disconnect_all()
        for model in models:
            model._collection = None
