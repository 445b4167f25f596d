"""A replica set of real `mongod` processes on loopback, every member behind a proxy, to be killed and restarted."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Self

from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from tests.chaos.proxy import Proxies
from tests.support.servers import free_ports
from watcher.embedded.mongod import HOST, Mongod

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_S = 180.0
APPLICATION = "oracle"
"""How our own clients name themselves; fail points and cuts are for the daemon alone."""
_TRANSACTIONS_END_S = 10
"""Of a client that is gone; a write that meets such a transaction waits for its end."""
_QUIESCE_MS = 500
"""How long a member that is stopped in order lets its clients find another one; 15 s if nobody says so."""


class Cluster:
    """A replica set; running while the block lasts.

    Args:
        folder: everything of it.
        members: number of its members.
        proxied: put a proxy before each member.
        election_ms: how long members wait for a primary that is silent before they choose another one.
        oplog_mb: size of each member's oplog.
        name: the replica set's name.
    """

    def __init__(
        self,
        folder: Path,
        members: int = 3,
        *,
        proxied: bool = True,
        election_ms: int = 3000,
        oplog_mb: int = 1024,
        name: str = "chaos",
    ) -> None:
        ports = free_ports(2 * members)
        self._ports, outer = ports[:members], ports[members:]
        self._outer = outer if proxied else self._ports
        self.name = name
        self.members = [self._member(folder / str(number), number, oplog_mb) for number in range(members)]
        self.proxies = Proxies(list(zip(self._outer, self._ports, strict=True)) if proxied else [])
        self._election_ms = election_ms
        self._stack = ExitStack()

    def _member(self, folder: Path, number: int, oplog_mb: int) -> Mongod:
        parameters = (
            "enableTestCommands=1",
            f"transactionLifetimeLimitSeconds={_TRANSACTIONS_END_S}",
            f"shutdownTimeoutMillisForSignaledShutdown={_QUIESCE_MS}",
        )
        arguments = [word for each in parameters for word in ("--setParameter", each)]
        return Mongod(
            folder,
            self._ports[number],
            extra_args=(*arguments, "--quiet"),
            set_name=self.name,
            initiate=False,
            cache_gb=0.25,
            oplog_mb=oplog_mb,
        )

    @property
    def uri(self) -> str:
        """The connection string, through the proxies."""
        return f"mongodb://{','.join(f'{HOST}:{port}' for port in self._outer)}/?replicaSet={self.name}"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.proxies)
            for member in self.members:
                stack.callback(member.kill)  # nobody needs the data any more
            self.start()
            hosts = [{"_id": number, "host": f"{HOST}:{port}"} for number, port in enumerate(self._outer)]
            settings = {"electionTimeoutMillis": self._election_ms, "heartbeatIntervalMillis": 1000}
            with self.direct(0) as client:
                config = {"_id": self.name, "members": hosts, "settings": settings}
                with suppress(OperationFailure):
                    client.admin.command("replSetInitiate", config)
            self._stack = stack.pop_all()
            self.level()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self) -> None:
        """Start every member that does not run, and wait until each answers."""
        started = [member for member in self.members if not member.running]
        for member in started:
            member.launch()
        for member in started:
            member.wait_ready(PATIENCE_S)

    def direct(self, number: int) -> MongoClient[dict[str, Any]]:
        """A client of one member alone, past its proxy."""
        return MongoClient(
            HOST, self._ports[number], directConnection=True, serverSelectionTimeoutMS=3000, appname=APPLICATION
        )

    def client(self) -> MongoClient[dict[str, Any]]:
        """A client of the set, whose writes need a majority."""
        return MongoClient(
            self.uri,
            appname=APPLICATION,
            w="majority",
            readConcernLevel="majority",
            serverSelectionTimeoutMS=5000,
            connectTimeoutMS=5000,
            socketTimeoutMS=20_000,
        )

    def primary(self, but: int | None = None) -> int:
        """The member that can be written to, waiting until there is one.

        Args:
            but: not this one, which may not know yet that it is none any more.
        """
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            for number, state in enumerate(self._states()):
                if state == "writable" and number != but:
                    return number
            time.sleep(0.05)
        raise TimeoutError(f"no primary within {PATIENCE_S:.0f} s: {self._states()}")

    def _states(self) -> list[str]:
        states = []
        for number, member in enumerate(self.members):
            state = "down"
            if member.running:
                with suppress(PyMongoError), self.direct(number) as client:
                    hello = client.admin.command("hello")
                    state = "writable" if hello["isWritablePrimary"] else "secondary" if hello["secondary"] else "other"
            states.append(state)
        return states

    def level(self) -> None:
        """Wait until every member is there, one of them as the primary, and a majority takes writes."""
        until = time.monotonic() + PATIENCE_S
        while sorted(states := self._states()) != ["secondary"] * (len(self.members) - 1) + ["writable"]:
            if time.monotonic() > until:
                raise TimeoutError(f"the replica set is not whole after {PATIENCE_S:.0f} s: {states}")
            time.sleep(0.1)

    def step_down(self) -> None:
        """Make the primary give up its office."""
        while True:
            with self.direct(self.primary()) as client:
                try:
                    client.admin.command({"replSetStepDown": 5, "secondaryCatchUpPeriodSecs": 2})
                except ConnectionFailure:
                    return
                except OperationFailure:  # nobody can take over at the moment
                    time.sleep(0.3)
                else:
                    return

    def fail(self, mode: str | dict[str, int], data: dict[str, Any] | None = None, member: int | None = None) -> int:
        """Set the fail point `failCommand` of one member.

        Args:
            mode: `off`, or how often: `{"times": 3}`.
            data: which commands of whom fail, and how.
            member: which one; None: the primary.

        Returns:
            How often it has taken effect since the server was started.
        """
        with self.direct(self.primary() if member is None else member) as client:
            command = {"configureFailPoint": "failCommand", "mode": mode, **({"data": data} if data else {})}
            return int(client.admin.command(command)["count"])
