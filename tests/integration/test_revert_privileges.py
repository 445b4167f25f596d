"""Who may not put documents back is told what is missing; with authentication on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient

from change_history import History
from change_history.revert.errors import NotAllowedError
from tests.support.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from watcher.embedded.mongod import Mongod

USERS = {
    "reader": [{"role": "read", "db": "shop"}, {"role": "readWrite", "db": "shop_history"}],
    "stranger": [{"role": "readWrite", "db": "shop_history"}],
    "historian": [{"role": "readWrite", "db": "shop"}, {"role": "read", "db": "shop_history"}],
    "allowed": [{"role": "readWrite", "db": "shop"}, {"role": "readWrite", "db": "shop_history"}],
}


def test_a_missing_privilege_is_named_and_nothing_is_written(own_server: Callable[..., Mongod], tmp_path: Path) -> None:
    """The watched side needs more than recording does; the history side must let the revert be written down."""
    key = tmp_path / "key"
    key.write_text("c2VjcmV0IGtleSBmb3IgdGVzdHMgb25seQ==")
    key.chmod(0o600)
    server = own_server()
    with MongoClient[dict[str, Any]](server.uri) as admin:
        for name, roles in USERS.items():
            admin.admin.command("createUser", name, pwd="word", roles=roles)
        admin.admin.command("createUser", "root", pwd="word", roles=["root"])
    server.stop()
    server._extra_args = ("--auth", "--keyFile", str(key))  # the same data, now with authentication
    server._initiate = False
    server.start()

    def client(user: str) -> MongoClient[Any]:
        address = server.uri.replace("mongodb://", f"mongodb://{user}:word@")
        return MongoClient(f"{address}?authSource=admin&directConnection=true")

    with client("root") as root:
        root.shop.create_collection("users", changeStreamPreAndPostImages={"enabled": True})
        with Recording(root, "shop") as recording:
            root.shop.users.insert_one({"_id": 1, "n": 1})
            root.shop.users.update_one({"_id": 1}, {"$set": {"n": 2}})
            recording.catch_up()
            assert recording.history.name == "shop_history"

            def revert(user: str, *, dry_run: bool = False) -> bool:
                with client(user) as opened, History(opened, "shop_history") as history:
                    return history.revert("shop.users", 1, to=1, dry_run=dry_run).complete

            assert revert("reader", dry_run=True)  # to look, reading is enough
            for user, missing in (("reader", "shop"), ("stranger", "shop"), ("historian", "shop_history")):
                with pytest.raises(NotAllowedError, match=rf"readWrite on {missing}\b"):
                    revert(user)
                assert root.shop.users.find_one() == {"_id": 1, "n": 2}
            assert revert("allowed")
            assert root.shop.users.find_one() == {"_id": 1, "n": 1}
