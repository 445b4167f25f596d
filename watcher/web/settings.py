"""What the application must know of the settings."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost.

    Attributes:
        seconds: how long the history may be asked for one answer.
        stream_seconds: the same of an answer that is streamed.
        threads: so many requests ask the history at the same time.
        waiting: so many more may wait for their turn; others are turned away.
        rows: the most items of one page.
        bytes: a page ends once it has so many.
        followers: so many may follow at the same time.
        url_bytes: the longest path with its query.
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
    """How the application is served, and to whom.

    Attributes:
        root_path: the path under which a proxy shows the application, `/history`; empty: at its root.
        tokens: file of those who may read (see `watcher.web.tokens`); None: there is none.
        user_header: name of the header in which a trusted proxy names a signed-on user; None: there is none.
        trusted_proxies: networks of the proxies whose headers are believed.
        allowed_hosts: names under which the application is asked for, besides those of this machine.
        access_log: file that gets a line for every reading of documents; None: there is none.
        references: who mentions whom (see docs/web.md).
        limits: what one request may cost.
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
        """Whether anybody has to show who they are."""
        return self.tokens is not None or self.user_header is not None

    def trusts(self, address: str | None) -> bool:
        """Whether the headers of a proxy at this address are believed."""
        try:
            peer = ip_address(address or "")
        except ValueError:
            return False
        return any(peer in network for network in self.trusted_proxies)


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach what listens at an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
