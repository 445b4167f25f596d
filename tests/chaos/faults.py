"""What is done to the daemon, the servers and the network: each returns when the trouble is over."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, TypeAlias

from tests.chaos import failpoints
from tests.chaos.cluster import PATIENCE_S
from tests.support.daemon import eventually
from watcher.clients import APP_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.world import World
    from tests.support.daemon import Daemon

    Fault: TypeAlias = Callable[[World], None]

_STANDS_BY = '"standing by"'
_EVERYBODY = ""


def _wait(world: World, least: float, most: float) -> None:
    time.sleep(world.dice.uniform(least, most))


def daemon_kill(world: World) -> None:
    """SIGKILL, and a new one after a while."""
    world.daemons[0].kill()
    _wait(world, 0, 2)
    world.daemons[0].start()


def daemon_stop(world: World) -> None:
    """SIGTERM, which must end in order; and a new one."""
    _ends_in_order(world.daemons[0].stop())
    _wait(world, 0, 2)
    world.daemons[0].start()


def daemon_freeze(world: World) -> None:
    """SIGSTOP for longer than a lease, then SIGCONT."""
    world.daemons[0].send(signal.SIGSTOP)
    _wait(world, world.size.freeze_s, world.size.freeze_s + 2)
    world.daemons[0].send(signal.SIGCONT)


def two_daemons(world: World) -> None:
    """A second one on the same stream; the first is killed, stopped or frozen; then only the first is there again."""
    one, two = world.daemons
    _stands_by(two)
    number = world.dice.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
    if number is signal.SIGSTOP:
        one.send(number)
        time.sleep(world.size.freeze_s)
    elif number is signal.SIGTERM:
        _ends_in_order(one.stop())
    else:
        one.kill()
    one_is_gone, one.process = one.process, None  # by our hand
    world.recorded(world.mark())
    one.process = one_is_gone
    if number is signal.SIGSTOP:
        one.send(signal.SIGCONT)
        world.recorded(world.mark())
    else:
        _stands_by(one)
    _ends_in_order(two.stop())
    two.process = None


def primary_kill(world: World) -> None:
    """SIGKILL of the primary, which comes back after another one has been chosen, or before."""
    member = world.watched.members[world.watched.primary()]
    member.kill()
    _wait(world, 1, 8)
    world.watched.start()


def primary_stepdown(world: World) -> None:
    """The primary gives up its office."""
    world.watched.step_down()


def primary_freeze(world: World) -> None:
    """SIGSTOP of the primary for longer than an election takes: afterwards it still thinks that it is one."""
    pid = world.watched.members[world.watched.primary()].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    _wait(world, 4, 7)
    os.kill(pid, signal.SIGCONT)


def all_nodes_restarted(world: World) -> None:
    """All at once, by a power cut or in order, or one after the other."""
    members = world.watched.members
    way = world.dice.choice(["power cut", "in order", "rolling"])
    for member in members:
        if way == "power cut":
            member.kill()
        else:
            member.stop()
        if way == "rolling":
            world.watched.start()
            world.watched.level()
    _wait(world, 0, 2)
    world.watched.start()


def history_away(world: World) -> None:
    """SIGKILL of the deployment that keeps the history; it comes back after a while."""
    for member in world.keeper.members:
        member.kill()
    _wait(world, 2, 12)
    world.keeper.start()


def cut(world: World) -> None:
    """The daemon can reach nobody, by a reset of its connections or by silence."""
    proxies = {id(cluster): cluster.proxies for cluster in (world.watched, world.keeper)}.values()
    silent = world.dice.random() < 0.5
    for each in proxies:
        each.cut(APP_NAME, silent=silent)
    _wait(world, 1, 12)
    for each in proxies:
        each.heal()


def partition(world: World) -> None:
    """Nobody, member or client, can reach the primary, which does not know that."""
    proxies = world.watched.proxies
    proxies.cut(_EVERYBODY, silent=world.dice.random() < 0.5, only=world.watched.primary())
    _wait(world, 4, 10)
    proxies.heal()


def _stands_by(daemon: Daemon) -> None:
    """Start a daemon and wait until it has seen that another one leads."""
    before = daemon.log().count(_STANDS_BY)
    daemon.start()
    eventually(lambda: daemon.log().count(_STANDS_BY) > before, "a daemon standing by", PATIENCE_S)


def _ends_in_order(code: int) -> None:
    if code != 0:
        raise AssertionError(f"a daemon that was asked to stop ended with {code}")


FAULTS: dict[str, Fault] = {
    "daemon-kill": daemon_kill,
    "daemon-kill-writing": failpoints.kill_while_writing,
    "daemon-stop": daemon_stop,
    "daemon-freeze": daemon_freeze,
    "two-daemons": two_daemons,
    "primary-kill": primary_kill,
    "primary-stepdown": primary_stepdown,
    "primary-freeze": primary_freeze,
    "nodes-restart": all_nodes_restarted,
    "history-away": history_away,
    "cut": cut,
    "partition": partition,
    "position-286": failpoints.position_lost(286),
    "position-280": failpoints.position_lost(280),
    "network-error": failpoints.network_error,
    "write-concern": failpoints.write_concern,
    "duplicate-key": failpoints.refused(11000, "insert", errorExtraInfo=failpoints.DUPLICATE),
    "not-primary": failpoints.refused(10107, "insert", "update"),
    "delay": failpoints.delay,
}
"""By the name that `--only` knows."""
APART = {"history-away"}
"""Only where history is kept on a deployment of its own."""
