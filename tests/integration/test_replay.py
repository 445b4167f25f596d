"""History that replays exactly, proved by machine: random operations on a real server, event by event.

Two streams follow one database: the daemon's own `Listener`, whose events are recorded and folded, and a plain one of
pymongo's with post-images, which is the truth. Where the server keeps no post-images, the truth is what it reads back
at the event's cluster time. ``WATCHER_TEST_REPLAY_OPERATIONS`` is the number of operations in total,
``WATCHER_TEST_REPLAY_SEED`` makes them the same again, and ``WATCHER_TEST_REPLAY_SHRINK=0`` reports a failing example
as it was found, without making it smaller first.
"""

from __future__ import annotations

import os
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from pymongo import MongoClient

from tests.support.generated.operations import USUAL, Operation, operations
from tests.support.replay.lab import MODES, Lab, Mode

OPERATIONS = int(os.environ.get("WATCHER_TEST_REPLAY_OPERATIONS", "1800"))
SEED = os.environ.get("WATCHER_TEST_REPLAY_SEED")
SHRINK = os.environ.get("WATCHER_TEST_REPLAY_SHRINK", "1") == "1"
PHASES = [Phase.explicit, Phase.reuse, Phase.generate, *([Phase.shrink] if SHRINK else [])]


def _share(lab: Lab) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in lab.counts.items())
    return f"{counts}; cannot be told: {dict(lab.untold)}"


@pytest.mark.timeout(0)
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_folding_history_gives_the_servers_document_after_every_event(
    mode: Mode, replica_set_uri: str, record_property: pytest.FixtureRequest
) -> None:
    """Otherwise as-of and revert would give out documents that never were."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    examples = max(1, OPERATIONS // len(MODES) // USUAL)

    with MongoClient[dict[str, Any]](replica_set_uri) as client, Lab(replica_set_uri, name, mode) as lab:

        @settings(
            max_examples=examples,
            phases=PHASES,
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(operations(switching=mode.switching))
        def replays(wanted: list[Operation]) -> None:
            lab.run(wanted)

        try:
            (seed(int(SEED))(replays) if SEED else replays)()
        finally:
            client.drop_database(name)
            print(f"{_share(lab)}")  # noqa: T201 - the report of a long run
            for why, example in lab.examples.items():
                print(why, example, sep="\n")  # noqa: T201
    assert lab.counts["operations with effect"] > lab.counts["operations"] / 3
