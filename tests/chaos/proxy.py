"""A TCP proxy before each member of a replica set, which can cut whom it likes.

The members are configured under their proxies' addresses, so discovery too leads through them. Every driver names its
application in the first message of a connection (the handshake), which is how the daemon's are told from others.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Self

from tests.chaos.link import Fate, Link
from watcher.embedded.mongod import HOST

if TYPE_CHECKING:
    from collections.abc import Callable


class Proxy:
    """Listens on a port of 127.0.0.1 and hands on to another one.

    Args:
        port: where it listens.
        target: port of the server behind it.
    """

    def __init__(self, port: int, target: int) -> None:
        self.port, self.target = port, target
        self.links: set[Link] = set()
        self.connecting: set[asyncio.Task[None]] = set()
        self._cut: bytes | None = None
        self._silent = False
        self._listener: socket.socket | None = None

    def _fate(self, link: Link) -> Fate:
        if self._cut is None or not link.is_of(self._cut):
            return Fate.PASSES
        return Fate.IS_SWALLOWED if self._silent else Fate.ENDS

    async def listen(self) -> None:
        """Begin to listen.

        Raises:
            OSError: the port is taken.
        """
        self._listener = socket.create_server((HOST, self.port))
        self._listener.settimeout(0)
        # Not asyncio's server: that one leaks a connection accepted in the moment it is closed (CPython 3.11).
        asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def close(self) -> None:
        """Listen no more, and drop all connections."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
        for link in list(self.links):
            link.end()

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # it went away again
            return
        connection.settimeout(0)
        link = Link(self._fate, self.links.discard)
        self.links.add(link)
        task = asyncio.get_running_loop().create_task(self._connect(link, connection))
        self.connecting.add(task)
        task.add_done_callback(self.connecting.discard)

    async def _connect(self, link: Link, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: link.near, connection)
        try:
            await loop.create_connection(lambda: link.far, HOST, self.target)
        except OSError:
            link.end()
            return
        if not link.ended:  # meanwhile
            link.join()

    def cut(self, application: str, *, silent: bool) -> None:
        """Cut all connections of an application.

        Args:
            application: part of the name that it gives itself; an empty one: everybody.
            silent: swallow what is sent, as a broken wire does; otherwise close, and refuse.
        """
        self._cut, self._silent = application.encode(), silent
        if not silent:
            self._end_cut()

    def heal(self) -> None:
        """Let everybody through again. A silent cut has lost bytes, so its connections are closed."""
        self._end_cut()
        self._cut = None

    def _end_cut(self) -> None:
        for link in [each for each in self.links if self._fate(each) is not Fate.PASSES]:
            link.end()


class Proxies:
    """Proxies in a thread of their own, until the block is left."""

    def __init__(self, routes: list[tuple[int, int]]) -> None:
        self.each = [Proxy(port, target) for port, target in routes]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        for proxy in self.each:
            asyncio.run_coroutine_threadsafe(proxy.listen(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        for proxy in self.each:
            proxy.close()
        await asyncio.gather(*(task for proxy in self.each for task in proxy.connecting))
        await asyncio.sleep(0)  # what was dropped is told so

    def cut(self, application: str, *, silent: bool, only: int | None = None) -> None:
        """Cut an application off from all servers, or from one of them; see `Proxy.cut`."""
        self._do([partial(each.cut, application, silent=silent) for each in self._chosen(only)])

    def heal(self) -> None:
        """Let everybody through again, everywhere."""
        self._do([each.heal for each in self.each])

    def _chosen(self, only: int | None) -> list[Proxy]:
        return self.each if only is None else [self.each[only]]

    def _do(self, actions: list[Callable[[], None]]) -> None:
        """Act on the proxies in their own thread, and wait until it is done."""

        async def run() -> None:
            for action in actions:
                action()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result()
