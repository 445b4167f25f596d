"""The proxy that cuts connections leaves none behind: a leaked one would fail whichever test comes next."""

from __future__ import annotations

import gc
import socket
import sys
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from tests.chaos.proxy import Proxies
from tests.support.daemon import PATIENCE_S
from tests.support.servers import free_ports
from watcher.embedded.mongod import HOST

if TYPE_CHECKING:
    import pytest

ROUNDS = 10
CALLERS = 3


def call_again_and_again(port: int, begun: threading.Event, enough: threading.Event) -> None:
    """Connect to a port and hang up, until it is enough."""
    while not enough.is_set():
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            begun.set()


def test_a_proxy_closed_amid_new_connections_leaks_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It once made an unlucky run of the chaos test fail with warnings of unclosed sockets."""
    leaked: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: leaked.append(what.exc_value))
    for _ in range(ROUNDS):
        with ExitStack() as stack:
            server = stack.enter_context(socket.create_server((HOST, 0)))
            [port] = free_ports(1)
            begun, enough = threading.Event(), threading.Event()
            callers = [
                threading.Thread(target=call_again_and_again, args=(port, begun, enough)) for _ in range(CALLERS)
            ]
            with Proxies([(port, server.getsockname()[1])]):
                for each in callers:
                    each.start()
                assert begun.wait(PATIENCE_S)
            enough.set()
            for each in callers:
                each.join()
        gc.collect()
    assert not leaked
