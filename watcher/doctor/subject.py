"""The subject of the checks: the settings, both deployments, and data of them that several checks need."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from pymongo import MongoClient, ReadPreference
from pymongo.errors import PyMongoError

from change_history.bson.values import CODEC
from change_history.stored.names import CHECKPOINTS
from watcher import clients
from watcher.operations.context import StreamContext
from watcher.operations.position import Relocation
from watcher.targets.identity import identify
from watcher.targets.namespaces import COLLECTION
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from config.settings import Settings

SOCKET_MS = 10_000
"""Socket timeout in milliseconds."""

WATCHED, HISTORY = "watched deployment", "history deployment"
IMAGES_OPTION = "changeStreamPreAndPostImages"


class Watched(NamedTuple):
    """A collection of the watched deployment, and whether it keeps pre-images."""

    database: str
    name: str
    images: bool

    @property
    def namespace(self) -> str:
        """`db.coll`."""
        return f"{self.database}.{self.name}"


@dataclass
class Subject:
    """Queries each deployment only once for each fact.

    Attributes:
        watched_uri: connection string of the watched deployment; None: an embedded server that does not run.
        history_uri: of the one that keeps the history; likewise.
    """

    settings: Settings
    watched_uri: str | None
    history_uri: str | None

    def __post_init__(self) -> None:
        self._clients: dict[str, MongoClient[Any]] = {}
        self.away: set[str] = set()
        """Names of deployments that no longer reply; querying them again would only take time."""

    @property
    def one_user(self) -> bool:
        """Whether the same user watches and keeps history."""
        return self.watched_uri == self.history_uri

    @cached_property
    def scope(self) -> Scope:
        """The scope of the settings."""
        return Scope.of(self.settings)

    @property
    def watched(self) -> MongoClient[Any]:
        """Client of the watched deployment."""
        return self.client(self.watched_uri)

    @property
    def history_client(self) -> MongoClient[Any]:
        """Client of the deployment that keeps the history."""
        return self.client(self.history_uri)

    @property
    def history(self) -> Database[Any]:
        """The history database."""
        return self.history_client.get_database(
            self.settings.history_database, codec_options=CODEC, read_preference=ReadPreference.PRIMARY
        )

    def client(self, uri: str | None) -> MongoClient[Any]:
        """The client for a connection string, made when first wanted.

        Raises:
            RuntimeError: there is none; a check that needs it was not told so.
            OSError, pymongo.errors.PyMongoError: the connection string leads nowhere.
        """
        if uri is None:
            raise RuntimeError("this deployment does not run")
        if uri not in self._clients:
            chosen = clients.options(uri)
            if "sockettimeoutms" in chosen:
                chosen["sockettimeoutms"] = SOCKET_MS
            self._clients[uri] = MongoClient(uri, tz_aware=True, **chosen)
        return self._clients[uri]

    @cached_property
    def hello(self) -> dict[str, Any]:
        """The watched deployment's reply to `hello`."""
        return dict(self.watched.admin.command("hello"))

    @cached_property
    def collections(self) -> tuple[Watched, ...]:
        """Every ordinary collection of the watched deployment that any stream could cover."""
        only = self.scope.database
        former = self.former_scope
        names = [only] if only and (former is None or former.database == only) else self.watched.list_database_names()
        return tuple(self._collections(sorted(names)))

    def _collections(self, databases: list[str]) -> Iterator[Watched]:
        scopes = [scope for scope in (self.scope, self.former_scope) if scope is not None]
        for name in databases:
            if not any(scope.reaches(name) for scope in scopes):
                continue
            found = self.watched[name].list_collections(filter={"type": COLLECTION})
            for info in sorted(found, key=lambda each: str(each["name"])):
                images = info.get("options", {}).get(IMAGES_OPTION, {}).get("enabled", False)
                yield Watched(name, str(info["name"]), bool(images))

    @cached_property
    def checkpoint(self) -> dict[str, Any] | None:
        """The document of the stream in `checkpoints`; None: it has never run."""
        found: dict[str, Any] | None = self.history[CHECKPOINTS].find_one({"_id": self.settings.checkpoint})
        return found

    @cached_property
    def known(self) -> dict[str, Any]:
        """The same for checks of something else; empty too if it cannot be read, which its own check says."""
        if HISTORY in self.away:
            return {}
        try:
            return self.checkpoint or {}
        except PyMongoError:
            return {}

    @cached_property
    def former_scope(self) -> Scope | None:
        """What the checkpoint was made for; None: there is no position, or no reading it."""
        options = self.known.get("options")
        if not options or "token" not in self.known:
            return None
        return Scope.described(options)

    @cached_property
    def relocation(self) -> Relocation:
        """Opens the stream at the stored position, as the daemon would.

        Raises:
            watcher.errors.NotAReplicaSetError: the watched deployment has no change streams.
        """
        context = StreamContext(self.settings, self.scope, self.watched, self.history, identify(self.watched))
        return Relocation(context)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients.values():
            with clients.closing_soon(client):
                pass
