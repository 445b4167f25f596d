"""What the server is made to answer to the daemon, by its own fail point `failCommand`.

https://github.com/mongodb/mongo/wiki/The-%22failCommand%22-fail-point
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from change_history.stored.names import HISTORY
from watcher.clients import APP_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.chaos.cluster import Cluster
    from tests.chaos.world import World

_PATIENCE_S = 60.0
_SLOW_MS, _SLOW_WRITES = 1200, 2
_WRITE_CONCERN_ERRORS = {64: "WriteConcernFailed", 91: "ShutdownInProgress", 189: "PrimarySteppedDown"}

DUPLICATE = {"keyPattern": {"_id": 1}, "keyValue": {"_id": 1}}
"""Without it the server cannot say 11000."""


class NeverMetError(AssertionError):
    """A fail point that nothing has come across proves nothing."""


def _fails(cluster: Cluster, commands: list[str], times: int, **how: Any) -> None:
    """Let commands of the daemon fail so often, and return when all of these failures have been met."""
    with _failing(cluster, commands, {"times": times}, **how) as met:
        _wait_for(met, times)


@contextmanager
def _failing(
    cluster: Cluster, commands: list[str], mode: str | dict[str, int], **how: Any
) -> Iterator[Callable[[], int]]:
    """Let commands of the daemon fail within the block; it is given a function that says how many have."""
    member = cluster.primary()
    before = cluster.fail(mode, {"failCommands": commands, "appName": APP_NAME, **how}, member)

    def met() -> int:
        name = "failpoint.failCommand"
        with cluster.direct(member) as client:
            times: int = client.admin.command({"getParameter": 1, name: 1})[name]["timesEntered"]
        return times - before

    try:
        yield met
        if not met():
            raise NeverMetError(f"no command of {commands} came across the fail point")
    finally:
        cluster.fail("off", member=member)


def position_lost(code: int) -> Callable[[World], None]:
    """The server says for a while that it has lost the position, which is not true."""

    def fault(world: World) -> None:
        _fails(world.watched, ["getMore"], world.dice.randint(1, 3), errorCode=code)

    return fault


def network_error(world: World) -> None:
    """Connections are closed in the middle of a command."""
    cluster, commands = world.dice.choice(
        [
            (world.watched, ["getMore"]),
            (world.watched, ["aggregate", "getMore"]),
            (world.keeper, ["insert"]),
            (world.keeper, ["update", "findAndModify"]),
        ]
    )
    _fails(cluster, commands, world.dice.randint(1, 5), closeConnection=True)


def write_concern(world: World) -> None:
    """Writes happen and are not acknowledged by a majority."""
    code = world.dice.choice(sorted(_WRITE_CONCERN_ERRORS))
    error = {"code": code, "codeName": _WRITE_CONCERN_ERRORS[code], "errmsg": "by a fail point"}
    _fails(world.keeper, ["insert", "update"], world.dice.randint(1, 5), writeConcernError=error)


def refused(code: int, *commands: str, **more: Any) -> Callable[[World], None]:
    """Writes of history are refused with a code, and do not happen."""

    def fault(world: World) -> None:
        _fails(world.keeper, list(commands), world.dice.randint(1, 4), errorCode=code, **more)

    return fault


def delay(world: World) -> None:
    """A command is held back; the server does not let go of the fail point before that is over."""
    cluster, commands = world.dice.choice(
        [(world.watched, ["getMore"]), (world.keeper, ["insert"]), (world.keeper, ["update"])]
    )
    _fails(cluster, commands, 1, blockConnection=True, blockTimeMS=world.size.delay_ms)


def kill_while_writing(world: World) -> None:
    """SIGKILL while history cannot be written: a position that ran ahead of what is stored would be believed.

    First writing is so slow that a checkpoint is due at each write; then a write fails, and the daemon dies over it.
    """
    slow = {"blockConnection": True, "blockTimeMS": _SLOW_MS, "namespace": f"{world.database.name}.{HISTORY}"}
    with _failing(world.keeper, ["insert"], "alwaysOn", **slow) as met:
        _wait_for(met, _SLOW_WRITES)
        with _failing(world.keeper, ["insert"], "alwaysOn", **slow, errorCode=10107) as failed:
            _wait_for(failed, 1)
            time.sleep(_SLOW_MS / 1000)
            world.daemons[0].kill()
            time.sleep(2 * _SLOW_MS / 1000)  # what the server holds back would be done if the fail point were off
    world.daemons[0].start()


def _wait_for(met: Callable[[], int], times: int) -> None:
    """Wait until a fail point has been met so often, but not for ever."""
    until = time.monotonic() + _PATIENCE_S
    while met() < times and time.monotonic() < until:
        time.sleep(0.05)
