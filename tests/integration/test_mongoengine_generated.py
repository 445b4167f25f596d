"""Random classes and random edits through mongoengine: history has what the application had.

``WATCHER_TEST_MODELS_EXAMPLES`` is the number of classes.
"""

from __future__ import annotations

import os
import uuid
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any

import mongoengine as me
import pytest
from bson import ObjectId
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from change_history import mongoengine as history_of_models
from change_history.mongoengine import HistoryMixin
from tests.support.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bson import Timestamp
    from pymongo import MongoClient

ALIAS = "mongoengine_generated"
EXAMPLES = int(os.environ.get("WATCHER_TEST_MODELS_EXAMPLES", "6"))
_EPOCH = datetime(2020, 1, 1)  # noqa: DTZ001 - the connection knows no zones
_numbers = count()

SCALARS: dict[Any, Any] = {
    me.StringField: st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
    me.IntField: st.integers(-(2**31), 2**31 - 1),
    me.FloatField: st.floats(allow_nan=False),
    me.BooleanField: st.booleans(),
    me.DecimalField: st.integers(-9999, 9999).map(lambda cents: Decimal(cents) / 100),
    me.DateTimeField: st.integers(0, 10**9).map(lambda ms: _EPOCH + timedelta(milliseconds=ms)),
    me.UUIDField: st.uuids(),
    me.ObjectIdField: st.binary(min_size=12, max_size=12).map(ObjectId),
}
KEYS = st.sampled_from(["a", "b", "0", "c d"])


class Kind:
    """A field as it can be made, and values for it."""

    def __init__(self, make: Any, values: Any) -> None:
        self.make = make
        self.values = values


@st.composite
def kinds(draw: Any, /, depth: int = 2) -> Kind:
    """A kind of field, down to embedded documents within lists within maps."""
    form = draw(st.sampled_from(["scalar", "scalar", "list", "map", "embedded", "generic"])) if depth else "scalar"
    if form == "scalar":
        field, values = draw(st.sampled_from(list(SCALARS.items())))
        return Kind(field, values)
    if form == "embedded":
        model, values = draw(classes(me.EmbeddedDocument, depth - 1))
        return Kind(lambda **more: me.EmbeddedDocumentField(model, **more), values)
    if form == "generic":
        several = [draw(classes(me.EmbeddedDocument, depth - 1))[1] for _ in range(2)]
        return Kind(me.GenericEmbeddedDocumentField, st.one_of(several))
    inner = draw(kinds(depth - 1))
    if form == "list":
        return Kind(lambda **more: me.ListField(inner.make(), **more), st.lists(inner.values, max_size=3))
    return Kind(lambda **more: me.MapField(inner.make(), **more), st.dictionaries(KEYS, inner.values, max_size=3))


@st.composite
def classes(draw: Any, /, base: Any, depth: int, **meta: Any) -> Any:
    """A document class, sometimes with an heir, its stored names shuffled among its fields; and its instances."""
    number = next(_numbers)
    # Never the name of another attribute: mongoengine itself mixes such fields up when it reads a document.
    names = draw(st.permutations(["s0", "s1", "s2"]))
    found = [draw(kinds(depth)) for _ in range(draw(st.integers(1, 3)))]
    made = {f"n{i}": kind.make(db_field=names[i]) for i, kind in enumerate(found)}
    inherits = draw(st.booleans())
    attributes = {**made, "meta": {**meta, "allow_inheritance": inherits}, "__module__": __name__}
    bases = (HistoryMixin, base) if base is not me.EmbeddedDocument else (base,)
    model: Any = type(f"Generated{number}", bases, attributes)
    values = {f"n{i}": kind.values for i, kind in enumerate(found)}
    options = [st.fixed_dictionaries({}, optional=values).map(lambda given: model(**given))]
    if inherits:
        kind = draw(kinds(0))
        heir: Any = type(f"Generated{number}Heir", (model,), {"own": kind.make(db_field="h"), "__module__": __name__})
        more = {**values, "own": kind.values}
        options.append(st.fixed_dictionaries({}, optional=more).map(lambda given: heir(**given)))
    return model, st.one_of(options)


@pytest.fixture
def watched(client: MongoClient[Any], replica_set_uri: str) -> Iterator[str]:
    """Name of a database that the application is connected to."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    me.connect(db=name, host=replica_set_uri, alias=ALIAS, uuidRepresentation="standard")
    yield name
    history_of_models.disconnect()
    me.disconnect(ALIAS)
    client.drop_database(name)


@settings(
    max_examples=EXAMPLES,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[*HealthCheck],
)
@given(data=st.data())
def test_history_has_what_the_application_had(
    watched: str, client: MongoClient[Any], replica_set_uri: str, data: st.DataObject
) -> None:
    """As an object equal to the one the application read then; and no change names what the class does not have."""
    client.drop_database(watched)
    client[watched].create_collection("docs", changeStreamPreAndPostImages={"enabled": True})
    model, instances = data.draw(classes(me.Document, 2, collection="docs", db_alias=ALIAS))
    model._collection = None
    with Recording(client, watched) as recording:
        history_of_models.connect(replica_set_uri, recording.history.name)
        document = data.draw(instances).save()
        had = [(_now(client), _read(model, document.pk))]
        for _ in range(data.draw(st.integers(1, 6))):
            other = data.draw(instances)
            for name in data.draw(st.sets(st.sampled_from(sorted(model._fields)))):
                if name in other._fields and name in document._fields and name not in {"id", "_cls"}:
                    setattr(document, name, getattr(other, name))
            if data.draw(st.integers(0, 5)) == 0:
                document.delete()
                had.append((_now(client), None))
            document.save(force_insert=had[-1][1] is None)
            had.append((_now(client), _read(model, document.pk)))
        recording.catch_up()
        for moment, expected in had:
            found = document.history.as_of(moment)
            if expected is None:
                assert found is None
                continue
            assert type(found) is type(expected)
            assert found.to_mongo() == expected.to_mongo()
            assert _objects(found) == _objects(expected)
        for change in document.history.changes:
            _require_names(type(document), str(change.field).split("."))
        everything = list(document.history.changes)
        assert document.history.changes.count() == len(everything)
        middle = len(everything) // 2
        assert list(document.history.changes[middle:]) == everything[middle:]


def _now(client: MongoClient[Any]) -> Timestamp:
    found: Timestamp = client.admin.command("ping")["operationTime"]
    return found


def _read(model: Any, pk: Any) -> Any:
    return model.objects.get(pk=pk)


def _objects(value: Any) -> Any:
    """A document as plain types with the classes of all that is in it."""
    if isinstance(value, me.Document | me.EmbeddedDocument):
        return type(value), {name: _objects(value._data.get(name)) for name in value._fields}
    if isinstance(value, dict):
        return {key: _objects(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_objects(item) for item in value]
    return type(value), value


def _require_names(model: Any, parts: list[str]) -> None:
    """Fail unless a path names attributes only, as far as it leads through documents."""
    classes: list[Any] | None = [model]
    field: Any = None
    for part in parts:
        if classes is not None:
            found = [
                one._fields[part] for cls in classes for one in (cls, *cls.__subclasses__()) if part in one._fields
            ]
            assert found, f"{part} of {parts} is no attribute of {classes}"
            field = found[0]
        else:
            field = getattr(field, "field", None)
        classes = [field.document_type] if isinstance(field, me.EmbeddedDocumentField) else None
