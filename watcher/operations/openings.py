"""Opening a stream only to learn whether, and where, the server would go on."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from change_history.bson.cluster_time import ClusterTime
from watcher.errors import PositionDoubtedError
from watcher.stream.batch import Position
from watcher.stream.listener import Listener

if TYPE_CHECKING:
    from bson import Timestamp
    from pymongo import MongoClient

    from watcher.targets.scope import Scope

_ONE = 1


class Openings:
    """Opens one stream with the daemon's own options, here and there.

    Args:
        client: the watched deployment.
        scope: what is watched.
        pre_images: whether the daemon asks for the images before each change.
    """

    def __init__(self, client: MongoClient[Any], scope: Scope, *, pre_images: bool) -> None:
        self._client = client
        self._scope = scope
        self._pre_images = pre_images

    def now(self) -> Position:
        """The position of a stream that begins now.

        Raises:
            pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
        """
        with closing(Listener(self._client, self._scope, _ONE, None, pre_images=self._pre_images)) as listener:
            return listener.next_batch().position

    def at(self, moment: Timestamp) -> Position:
        """The position of a stream that begins with the events of a cluster time.

        Raises:
            pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
        """
        listener = _ListenerAt(self._client, self._scope, moment, pre_images=self._pre_images)
        with closing(listener):
            token = listener.next_batch().position.token
        return Position(token, ClusterTime.of(moment))

    def check(self, position: Position) -> None:
        """Go on from a position, and read on once: only then does the server look for it in its oplog.

        Raises:
            pymongo.errors.PyMongoError: the server does not go on from there; `watcher.errors.classify` says more.
        """
        with closing(Listener(self._client, self._scope, _ONE, position, pre_images=self._pre_images)) as listener:
            while True:
                try:
                    listener.next_batch()
                    listener.next_batch()
                except PositionDoubtedError:
                    continue  # the listener counts, and says for sure in the end
                return

    def server_time(self) -> Timestamp:
        """Cluster time of the watched deployment.

        Raises:
            pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
        """
        return self.now().cluster_time.timestamp


class _ListenerAt(Listener):
    """A stream that begins at a cluster time instead of after a token."""

    def __init__(self, client: MongoClient[Any], scope: Scope, moment: Timestamp, *, pre_images: bool) -> None:
        super().__init__(client, scope, _ONE, None, pre_images=pre_images)
        self._moment = moment

    def _stream_options(self) -> dict[str, Any]:
        return {**super()._stream_options(), "startAtOperationTime": self._moment}
