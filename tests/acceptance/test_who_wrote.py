"""Who did it: of each event the actor that the writer's own notes name, or nobody. Never another."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from bson import Binary

from change_history.stored.event import to_event
from change_history.stored.names import HISTORY
from change_history.stored.reading import RAW
from tests.support.actors import CONTEXTS
from tests.support.daemon import FULL_SIZE, eventually
from tests.support.servers import PASSWORD, clean, daemon_of, give
from tests.support.who_wrote import SETTING, Judgement, Writer
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import Secured

USERS = ("orders", "billing", "ops")
WRITES, KILLS = (20_000, 20) if FULL_SIZE else (900, 3)


@pytest.fixture
def writers(deployment: Secured) -> Iterator[list[Writer]]:
    """Three users, each at work on documents of its own."""
    root = deployment.root
    found = []
    root.shop.create_collection("docs")
    root.shop.create_collection(CONTEXTS)
    for number, name in enumerate(USERS):
        root.admin.command("createUser", name, pwd=PASSWORD, roles=[{"role": "readWrite", "db": "shop"}])
        found.append(Writer(deployment.uri(name), f"{name}@admin", "shop", number))
    yield found
    for writer in found:
        writer.close()
    clean(deployment)


def test_nobody_is_named_who_did_not_do_it(
    deployment: Secured, writers: list[Writer], tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Disaster: the audit accuses the wrong one. The daemon has no more privileges than `watcher roles` prints."""
    daemon = daemon_of(deployment, tmp_path, actor_fields=SETTING, actor_sessions="on", baseline="off", batch_size=50)
    give(daemon, deployment)
    left = threading.Semaphore(WRITES)
    trouble: list[BaseException] = []

    def work(writer: Writer) -> None:
        try:
            while left.acquire(blocking=False):
                writer.write()
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
            trouble.append(error)

    with daemon:
        daemon.ready()
        threads = [threading.Thread(target=work, args=(writer,)) for writer in writers]
        for thread in threads:
            thread.start()
        for kill in range(KILLS):
            due = WRITES - (kill + 1) * WRITES // (KILLS + 1)
            while left._value > due and not trouble:
                time.sleep(0.02)
            daemon.kill()
            daemon.start()
        for thread in threads:
            thread.join()
        assert not trouble
        deployment.root.shop.docs.insert_one({"_id": "last"})
        daemon.recorded("shop.docs", "last")
        time.sleep(0.1)
        deployment.root.shop.docs.insert_one({"_id": "beyond"})
        beyond = daemon.recorded("shop.docs", "beyond")["_id"]
        last = daemon.recorded("shop.docs", "last")["_id"]
        assert last < beyond
        eventually(
            lambda: daemon.database.checkpoints.find_one({"sessions_until": {"$gt": Binary(last)}}),
            "the users of everything",
        )
        assert daemon.stop() == exit_codes.OK
    truth = {key: said for writer in writers for key, said in writer.truth.items()}
    judged = Judgement()
    seen = set()
    found = daemon.database.get_collection(HISTORY, codec_options=RAW).find(
        {"namespace": "shop.docs", "document_id": {"$nin": ["last", "beyond"], "$exists": True}}
    )
    for event in map(to_event, found):
        number = next((change.new_value for change in event.changes if change.field == "w"), None)
        # A server writes a short document anew rather than saying what a pipeline did to it.
        operation = "update" if event.operation == "replace" else event.operation
        key = (operation, event.document_id, number if operation != "delete" else None)
        assert key not in seen
        seen.add(key)
        judged.add(event, truth[key])
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(judged.lines()) + "\n")
    assert judged.wrong == []
    assert seen == set(truth)
    certain = [kind for kind in judged.events if kind.startswith("transaction") or kind in {"update, raw", "delete"}]
    assert [kind for kind in certain if judged.unknown[kind]] == []  # these are never out of reach
