"""The settings of the application."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of requests.

    Attributes:
        seconds: time that the queries for one answer may take.
        stream_seconds: the same for a streamed answer.
        threads: number of requests that query the history at the same time.
        waiting: number of further requests that may wait; others are refused.
        rows: maximum number of items on a page.
        bytes: size in bytes at which a page ends.
        followers: number of clients that may follow at the same time.
        url_bytes: maximum size in bytes of a path with its query.
    """

    seconds: float = 20.0
    stream_seconds: float = 600.0
    threads: int = 8
    waiting: int = 200
    rows: int = 1000
    bytes: int = 8 * 1024 * 1024
    followers: int = 500
    url_bytes: int = 32 * 1024


@dataclass(frozen=True, slots=True)
class WebSettings:
    """How the application is served, and who may read.

    Attributes:
        root_path: the path under which a proxy serves the application, `/history`; empty: at its root.
        tokens: file with the tokens of readers (see `watcher.web.tokens`); None: there is none.
        user_header: name of the header in which a trusted proxy names a signed-on user; None: there is none.
        trusted_proxies: networks of the proxies whose headers are trusted.
        allowed_hosts: accepted host names, besides those of this machine.
        access_log: file that gets a line for every read of documents; None: there is none.
        references: fields that refer to documents of other collections (see docs/web.md).
        limits: limits of requests.
    """

    host: str = "127.0.0.1"
    port: int = 8090
    root_path: str = ""
    tokens: Path | None = None
    user_header: str | None = None
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    access_log: Path | None = None
    references: tuple[str, ...] = ()
    limits: Limits = Limits()

    @property
    def authenticates(self) -> bool:
        """Whether visitors must authenticate."""
        return self.tokens is not None or self.user_header is not None

    def trusts(self, address: str | None) -> bool:
        """Whether the headers of a proxy at this address are trusted."""
        try:
            peer = ip_address(address or "")
        except ValueError:
            return False
        return any(peer in network for network in self.trusted_proxies)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached only from this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
