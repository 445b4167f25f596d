"""TCP ports for servers, daemons and proxies of tests."""

from __future__ import annotations

import random

from watcher.embedded.mongod import port_free

_BEGIN, _END = 20_000, 32_000
_USUAL = range(27_000, 28_200)
"""Around MongoDB's own ports and those of the embedded server, which somebody here may use."""
_given: set[int] = set()
_dice = random.SystemRandom()  # tests seed the usual one, and those of another process would choose the same


def free_ports(number: int) -> list[int]:
    """So many TCP ports on 127.0.0.1 that nobody uses at the moment; no port is given twice.

    Below those that the kernel gives to outgoing connections and to whoever asks for any: between the choice and the
    use, or while a server is away, these might take it.
    """
    found: list[int] = []
    while len(found) < number:
        port = _dice.randrange(_BEGIN, _END)
        if port not in _given and port not in _USUAL and port_free(port):
            _given.add(port)
            found.append(port)
    return found


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]
