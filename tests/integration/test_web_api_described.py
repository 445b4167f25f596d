"""The API does what its description says, whatever it is asked: schemathesis asks it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from bson import ObjectId
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.support.daemon import FULL_SIZE
from tests.support.recording import Recording
from tests.support.web import Served
from watcher.web.tokens import hash_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo import MongoClient

TOKEN = "mcw_all"
EXAMPLES = 150 if FULL_SIZE else 4
FOLLOW = "/api/v1/follow"
"""Its answer does not end."""


@pytest.fixture(scope="module")
def served(
    client: MongoClient[Any], replica_set_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A small history, and a token for all of it. The namespace is the one of the description's examples."""
    folder = tmp_path_factory.mktemp("described")
    tokens = folder / "tokens.toml"
    tokens.write_text(f'[[token]]\nname = "all"\nhash = "{hash_of(TOKEN)}"\nread = ["*.*"]\n')
    client.drop_database("shop")
    orders = client.shop.orders
    with Recording(client, "shop") as recording:
        client.shop.create_collection("orders", changeStreamPreAndPostImages={"enabled": True})
        with client.start_session() as session, session.start_transaction():
            orders.insert_one({"_id": 17, "status": "new", "at": ObjectId(), "<b>": [1, {"$a": None}]}, session=session)
        orders.update_one({"_id": 17}, {"$set": {"status": "paid", "total": 1.5}})
        recording.catch_up()
        with Served(
            folder / "log", uri=replica_set_uri, history_database=recording.history.name, serve_tokens=tokens
        ) as running:
            yield running
    client.drop_database("shop")


def test_whatever_is_asked_the_answer_is_described(served: Served) -> None:
    """No status, no header and no form that the description lacks; never a 500; nothing without the token."""
    begun = time.monotonic()
    shown = {"Authorization": f"Bearer {TOKEN}"}
    schema = schemathesis.openapi.from_url(f"{served.url}/api/v1/openapi.json", headers=shown)
    asked = 0
    for result in schema.exclude(path=FOLLOW).get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        @given(case=operation.as_strategy())
        @settings(
            max_examples=EXAMPLES,
            database=None,
            derandomize=not FULL_SIZE,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def check(case: schemathesis.Case[Any]) -> None:
            nonlocal asked
            asked += 1
            # Times, ids and cursors have grammars that no schema says: some that fit the schema are refused.
            case.call_and_validate(headers=shown, excluded_checks=[positive_data_acceptance])

        check()
    assert asked >= EXAMPLES * 10, f"{asked} questions in {time.monotonic() - begun:.0f} s"


def test_every_parameter_has_its_word_in_the_description(served: Served) -> None:
    """And every path answers its example."""
    description = served.get("/api/v1/openapi.json", authorization=f"Bearer {TOKEN}").json

    for path, methods in description["paths"].items():
        for parameter in methods["get"].get("parameters", []):
            assert parameter["description"], (path, parameter["name"])
    state = served.get("/api/v1/collections/shop.orders/documents/17?at=1", authorization=f"Bearer {TOKEN}")
    assert state.json["document"]["status"] == "new"
