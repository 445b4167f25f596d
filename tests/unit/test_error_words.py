"""What the log says of a deployment that cannot be reached: why, and nothing that is secret or long."""

from __future__ import annotations

from pymongo.errors import AutoReconnect, OperationFailure, ServerSelectionTimeoutError

from watcher.errors import words_of

REFUSED = (
    "db1:27017: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1006) "
    "(configured timeouts: socketTimeoutMS: 60000.0ms, connectTimeoutMS: 3000.0ms), Timeout: 3.0s, Topology "
    "Description: <TopologyDescription id: 6b, topology_type: ReplicaSetNoPrimary, servers: []>"
)


def test_the_reason_is_told_and_the_topology_is_not() -> None:
    """`ServerSelectionTimeoutError` alone sends people to the network, when it is the certificate."""
    assert words_of(ServerSelectionTimeoutError(REFUSED)) == (
        "ServerSelectionTimeoutError: db1:27017: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
        "self-signed certificate (_ssl.c:1006)"
    )


def test_a_reason_is_one_short_line() -> None:
    """A set of many members has as many reasons."""
    said = words_of(AutoReconnect("db:27017: refused,\n" * 1000))

    assert "\n" not in said
    assert len(said) < 400


def test_what_a_server_says_is_not_repeated() -> None:
    """Its messages may hold values of documents; its codes do not."""
    error = OperationFailure("E11000 duplicate key: {email: 'ann@example.org'}", 11000, {"codeName": "DuplicateKey"})

    assert words_of(error) == "DuplicateKey (11000)"
