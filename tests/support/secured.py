"""Deployments that ask who is there: replica sets of one with authentication on, and their users."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pymongo import MongoClient

from tests.support.ports import free_port
from watcher.embedded.mongod import Mongod

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "word"
_KEY = "c2VjcmV0IGtleSBmb3IgdGVzdHMgb25seQ=="


class Secured:
    """A deployment with authentication on, and its administrator.

    Args:
        server: the running server.
        options: what every connection string ends with, such as `&tls=true`.
    """

    def __init__(self, server: Mongod, options: str = "") -> None:
        self.server = server
        self._options = options
        self.root: MongoClient[Any] = MongoClient(self.uri("root"))

    def uri(self, user: str) -> str:
        """The connection string of a user."""
        return (
            f"mongodb://{user}:{PASSWORD}@127.0.0.1:{self.server.port}/?authSource=admin&replicaSet=rs0{self._options}"
        )

    def admin(self, command: dict[str, Any]) -> None:
        """Run one of the commands that `watcher roles --json` prints; a user gets the password of all."""
        with_password = {"pwd": PASSWORD} if "createUser" in command else {}
        self.root.admin.command({**command, **with_password})

    def user(self, name: str, privileges: list[dict[str, Any]]) -> str:
        """Make a user with just these privileges, instead of an earlier one of the name; its connection string."""
        admin = self.root.admin
        if admin.command("usersInfo", name)["users"]:
            admin.command("dropUser", name)
            admin.command("dropRole", f"role of {name}")
        admin.command({"createRole": f"role of {name}", "privileges": privileges, "roles": []})
        admin.command("createUser", name, pwd=PASSWORD, roles=[f"role of {name}"])
        return self.uri(name)


@contextmanager
def secured(folder: Path, *more: str, options: str = "") -> Iterator[Secured]:
    """A deployment with authentication on, until the end of the block.

    Args:
        folder: for its data.
        more: arguments of `mongod`.
        options: what connection strings end with.
    """
    key = folder / "key"
    key.write_text(_KEY)
    key.chmod(0o600)
    arguments = ("--keyFile", str(key), *more)
    with Mongod(
        folder / "data", free_port(), initiate=False, cache_gb=0.25, oplog_mb=256, extra_args=arguments
    ) as server:
        # Before there is any user, whoever comes from this machine may make the first one.
        bare = f"mongodb://127.0.0.1:{server.port}/?directConnection=true{options}"
        with MongoClient[dict[str, Any]](bare) as first:
            member = {"_id": 0, "host": f"127.0.0.1:{server.port}"}
            first.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
            until = time.monotonic() + 60
            while not first.admin.command("hello")["isWritablePrimary"]:
                assert time.monotonic() < until, "no primary"
                time.sleep(0.05)
            first.admin.command("createUser", "root", pwd=PASSWORD, roles=["root"])
        found = Secured(server, options)
        try:
            yield found
        finally:
            found.root.close()
