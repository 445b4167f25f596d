"""The OpenAPI 3.1 description of the API, generated from the endpoints."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from watcher.web import problems
from watcher.web.api.representation import JSON, NDJSON

if TYPE_CHECKING:
    from collections.abc import Iterable

    from watcher.web.api import parameters as p
    from watcher.web.api.endpoint import Endpoint

_ANY: dict[str, Any] = {"description": "A value of a document, in Extended JSON: relaxed, or canonical."}
_TIME = {
    "description": "A wall time, ISO 8601 in UTC; beyond the calendar, Extended JSON.",
    "type": ["string", "object"],
}
_CLUSTER_TIME = {"description": "A cluster time, seconds:increment.", "type": "string", "pattern": "^[0-9]+:[0-9]+$"}
_ID = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_TEXTS = {"type": "array", "items": {"type": "string"}}
_PATH = {"type": "array", "items": {"type": ["string", "integer"]}}
_COUNT = {"type": "integer", "minimum": 0}
_UNKNOWN = {"type": "array", "items": {"type": "string"}, "description": "Which of the values nobody knows."}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(required: Iterable[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


def _list(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema}


_NUMBERS = {"namespace": {"type": "string"}, **dict.fromkeys(("documents", "events", "changes", "bytes"), _COUNT)}
_POINT = _object(("timestamp", "cluster_time"), timestamp=_TIME, cluster_time=_CLUSTER_TIME)

SCHEMAS: dict[str, Any] = {
    "Problem": _object(
        ("type", "title", "status"),
        type={"type": "string"},
        title={"type": "string"},
        status={"type": "integer"},
        detail={"type": "string"},
        versions={**_COUNT, "description": "How many versions the document has."},
        errors=_list(_object(("parameter", "detail"), parameter={"type": "string"}, detail={"type": "string"})),
    ),
    "Collection": _object(
        ("namespace", "events"),
        namespace={"type": "string"},
        events={"type": ["integer", "null"], "minimum": 0},
        first=_POINT,
        last=_POINT,
    ),
    "Change": _object(
        ("field",),
        field={"type": "string"},
        path={**_PATH, "description": "The exact path, where reading `field` would mislead."},
        old_value={**_ANY, "description": "Before. Left out: there was none, unless `unknown` names it."},
        new_value={**_ANY, "description": "After. Left out: it was removed, unless `unknown` names it."},
        unknown=_UNKNOWN,
        old_value_from={"type": "string", "enum": ["history", "unknown"]},
        new_value_from={"type": "string", "enum": ["unknown"]},
        truncated_to=_COUNT,
        at_end={"type": "boolean"},
    ),
    "Actor": _object(
        ("id", "provenance"),
        id=_ANY,
        provenance={"type": "string"},
        reason={"type": "string"},
        request=_ANY,
        database_user={"type": "string"},
    ),
    "KnownActor": _object(("id",), id=_ANY),
    "Event": _object(
        ("id", "operation", "timestamp", "cluster_time"),
        id=_ID,
        namespace={"type": "string"},
        document_id=_ANY,
        operation={"type": "string"},
        timestamp=_TIME,
        cluster_time=_CLUSTER_TIME,
        actor=_ref("Actor"),
        transaction=_object(
            ("name", "session", "number"), name={"type": "string"}, session=_ANY, number={"type": "integer"}
        ),
        changes=_list(_ref("Change")),
        fields={**_TEXTS, "description": "Of a summary: the first hundred fields that were changed."},
        change_count=_COUNT,
        key_order=_TEXTS,
        description=_ANY,
        resume_token={"type": "string"},
        version={"type": "integer"},
    ),
    "State": _object(
        ("namespace", "document_id", "exists", "document", "version", "position", "event", "gaps"),
        namespace={"type": "string"},
        document_id=_ANY,
        exists={"type": ["boolean", "null"], "description": "null: history cannot tell, `unknown` says why."},
        document={"description": "The document, in Extended JSON; null: it was not there, or nobody can tell."},
        unknown={"type": "string"},
        version={"type": ["integer", "null"]},
        position=_object(("cluster_time", "token"), cluster_time=_CLUSTER_TIME, token={"type": "string"}),
        event=_or_null(_ref("Event")),
        ended_by=_ref("Event"),
        gaps=_list(_ref("Event")),
    ),
    "Versions": _object(
        ("namespace", "document_id", "versions"), namespace={"type": "string"}, document_id=_ANY, versions=_COUNT
    ),
    "Difference": _object(
        ("kind", "path"),
        kind={"type": "string", "enum": ["added", "removed", "changed", "moved", "reordered"]},
        path=_PATH,
        old_path=_PATH,
        old=_ANY,
        new=_ANY,
        unknown=_UNKNOWN,
        identities={"type": "array"},
    ),
    "Diff": _object(
        ("namespace", "document_id", "changes", "differences"),
        namespace={"type": "string"},
        document_id=_ANY,
        changes=_list(_ref("Change")),
        differences=_list(_ref("Difference")),
    ),
    "Blame": _object(
        ("namespace", "document_id", "leaves", "events"),
        namespace={"type": "string"},
        document_id=_ANY,
        leaves=_list(
            _object(
                ("field", "path", "value", "event"),
                field={"type": "string"},
                path=_PATH,
                value=_ANY,
                event=_or_null(_ID),
            )
        ),
        events={"type": "object", "additionalProperties": _ref("Event")},
    ),
    "CollectionDocument": _object(
        ("document_id", "document"),
        document_id=_ANY,
        document={"description": "The document; null: history cannot tell it."},
        unknown={"type": "string"},
    ),
    "ChangedDocument": _object(
        ("document_id", "before", "after"),
        document_id=_ANY,
        before={"description": "null: it was not there, or history cannot tell."},
        after={"description": "likewise"},
        unknown={"type": "string"},
    ),
    "Gap": {
        "type": "object",
        "required": ["id", "from", "to", "stream", "cause", "include", "exclude", "event"],
        "properties": {
            "id": _ID,
            "from": _CLUSTER_TIME,
            "to": _CLUSTER_TIME,
            "stream": {"type": "string"},
            "cause": {"type": "string"},
            "include": _TEXTS,
            "exclude": _TEXTS,
            "event": _ref("Event"),
        },
    },
    "Verification": _object(
        ("sound", "seals", "entries", "unsealed", "findings", "more_findings", "remarks"),
        sound={"type": "boolean"},
        seals=_COUNT,
        digest={"type": "string"},
        unsigned=_COUNT,
        entries=_COUNT,
        unsealed=_COUNT,
        amended=_COUNT,
        findings=_list(
            _object(
                ("what", "said"),
                what={"type": "string"},
                said={"type": "string"},
                event=_ID,
                seal={"type": "integer"},
                namespace={"type": "string"},
                document_id=_ANY,
            )
        ),
        more_findings=_COUNT,
        remarks=_TEXTS,
    ),
    "Stats": _object(
        (),
        collections=_list(_object(_NUMBERS, **_NUMBERS)),
        days=_list(_object(("day", *_NUMBERS), day=_TIME, **_NUMBERS)),
        documents=_list(_object(("document_id", *_NUMBERS), document_id=_ANY, **_NUMBERS)),
        actors=_object(
            ("events", "unknown", "busiest", "unknown_by"),
            events=_COUNT,
            unknown=_COUNT,
            busiest=_list(
                _object(("id", "provenance", "events"), id=_ANY, provenance={"type": "string"}, events=_COUNT)
            ),
            unknown_by=_list(
                _object(
                    ("namespace", "operation", "events"),
                    namespace={"type": "string"},
                    operation={"type": "string"},
                    events=_COUNT,
                )
            ),
        ),
        fields=_list(
            _object(
                ("namespace", "field", "changes"),
                namespace={"type": "string"},
                field={"type": "string"},
                changes=_COUNT,
            )
        ),
    ),
}

_PROBLEMS = {
    "400": "The request says what nothing can be made of.",
    "401": "Nobody who may read.",
    "403": "Only for those who may read everything.",
    "404": "Nothing is recorded of this, or you may not read it.",
    "406": "None of what is accepted can be given.",
    "409": "History cannot tell.",
    "410": "The item after which this page begins is not there any more.",
    "414": "The URL is too long.",
    "421": "This host name is not served.",
    "503": "The history does not answer, the answer takes too long, or there are too many requests.",
}


def description(endpoints: Iterable[Endpoint], follow: Iterable[p.Parameter], root_path: str) -> dict[str, Any]:
    """The OpenAPI document.

    Args:
        follow: parameters of the endpoint `follow`.
        root_path: the path under which the application is served.
    """
    paths = {f"/api/v1{each.path}": {"get": _operation(each)} for each in endpoints}
    paths["/api/v1/follow"] = {"get": _following(follow)}
    paths["/api/v1/openapi.json"] = {
        "get": {
            "operationId": "description",
            "summary": "Read this description",
            "responses": {
                "200": {"description": "OpenAPI", "content": {JSON: {"schema": {"type": "object"}}}},
                **_problems(),
            },
        }
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mongo-change-watcher",
            "version": _version(),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": (
                "Every change of every MongoDB document. Values are Extended JSON: relaxed, or with "
                f"`Accept: {JSON}; mode=canonical` canonical, which keeps every type. Lists are pages, or with "
                f"`Accept: {NDJSON}` an item a line to the end; an answer that breaks off is not ended properly."
            ),
        },
        "servers": [{"url": root_path or "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    schema = _ref(endpoint.schema)
    content: dict[str, Any] = {JSON: {"schema": schema}}
    if endpoint.lists:
        page = _object(("items", "next"), items=_list(schema), next={"type": ["string", "null"]})
        content = {JSON: {"schema": page}, NDJSON: {"schema": {"type": "string"}}}
    return {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "description": endpoint.description,
        "parameters": [each.described() for each in endpoint.all_parameters],
        "responses": {
            "200": {
                "description": endpoint.summary,
                "headers": {"ETag": {"schema": {"type": "string"}}},
                "content": content,
            },
            "304": {"description": "What you have (`If-None-Match`) is still the answer."},
            **_problems(),
        },
    }


def _following(parameters: Iterable[p.Parameter]) -> dict[str, Any]:
    return {
        "operationId": "follow",
        "summary": "Follow events as they are recorded",
        "description": (
            "Server-sent events: `change` and `gap`, each with an event as JSON. `Last-Event-ID` goes on after one; "
            "what this server does not remember any more is read from history, where an event may come twice."
        ),
        "parameters": [each.described() for each in parameters],
        "responses": {
            "200": {"description": "Events", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
            **_problems(),
        },
    }


def _problems() -> dict[str, Any]:
    content = {problems.MEDIA_TYPE: {"schema": _ref("Problem")}}
    return {status: {"description": said, "content": content} for status, said in _PROBLEMS.items()}


def _version() -> str:
    try:
        return version("mongo-change-watcher")
    except PackageNotFoundError:
        return "0"
