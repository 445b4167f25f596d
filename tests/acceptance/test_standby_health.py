"""What two real daemons on one stream say of themselves, to people and to Prometheus."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.daemon import eventually
from tests.support.servers import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

    from tests.support.daemon import Daemon


def get(port: int, path: str) -> tuple[int, str]:
    """Ask a daemon."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except ConnectionRefusedError:
        return 0, "{}"
    finally:
        connection.close()


def role(port: int) -> str | None:
    """The role of a daemon that is ready."""
    status, body = get(port, "/ready")
    found: str | None = json.loads(body)["role"] if status == 200 else None
    return found


def samples(port: int) -> dict[str, float]:
    """What a daemon exposes, by the names of the metrics."""
    families = text_string_to_metric_families(get(port, "/metrics")[1])
    return {sample.name: sample.value for family in families for sample in family.samples}


@pytest.fixture
def ports() -> tuple[int, int]:
    """Two free ports."""
    one, two = free_ports(2)
    return one, two


def test_a_stand_by_is_ready_and_the_leader_is_known(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon], ports: tuple[int, int]
) -> None:
    """Kubernetes counts both; Prometheus must not sum up two lags, nor miss that nobody leads."""
    leader = make_daemon(replica_set_uri, database.name, http_port=ports[0]).start().ready()
    eventually(lambda: role(ports[0]) == "leader", "a leader")
    other = make_daemon(
        replica_set_uri, database.name, http_port=ports[1], history_database=leader.database.name
    ).start()
    eventually(lambda: role(ports[1]) == "standby", "a stand-by")

    assert json.loads(get(ports[1], "/ready")[1])["led_by"]
    eventually(lambda: "watcher_oplog_headroom_seconds" in samples(ports[0]), "the oplog's reach")
    leads, waits = samples(ports[0]), samples(ports[1])
    assert (leads["watcher_leader"], waits["watcher_leader"]) == (1, 0)
    timed = {"watcher_lag_seconds", "watcher_checkpoint_age_seconds", "watcher_oplog_headroom_seconds"}
    assert timed <= leads.keys()
    assert not timed & waits.keys()
    leader.kill()

    eventually(lambda: role(ports[1]) == "leader", "the other one leads")
    assert samples(ports[1])["watcher_term"] == leads["watcher_term"] + 1
    assert other.stop() == 0
