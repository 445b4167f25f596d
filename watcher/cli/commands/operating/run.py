"""`watcher run`: the daemon, with its embedded server and health address where they are wanted."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
import structlog

from config import log as logs
from config import uri as uris
from watcher.cli import exit_codes
from watcher.cli.commands.operating.deployments import exit_code_of
from watcher.cli.commands.operating.serving import Serving
from watcher.embedded.errors import MongodError
from watcher.embedded.server import EmbeddedServer
from watcher.errors import FatalError
from watcher.health.http import HealthServer, PortInUseError
from watcher.health.progress import Progress
from watcher.service import Service
from watcher.signals import AbortedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from config.settings import Settings

log = structlog.get_logger(__name__)


class Deployments(NamedTuple):
    """Connection strings of the watched deployment and of the one that keeps the history."""

    watched: str
    history: str


@click.command()
@click.option("--include", metavar="GLOBS", help="Namespaces to watch, such as shop.* (default: all).")
@click.option("--exclude", metavar="GLOBS", help="Namespaces not to watch.")
@click.option("--stream", metavar="NAME", help="Name of the checkpoint.")
@click.option("--partition", metavar="I/N", help="Record only partition I of N (default: all of them).")
@click.option("--serve", "served", is_flag=True, help="Also run `watcher serve`, in a process beside this one.")
@click.pass_context
def run(
    ctx: click.Context,
    *,
    include: str | None,
    exclude: str | None,
    stream: str | None,
    partition: str | None,
    served: bool,
) -> None:
    """Record every change until told to stop.

    Follows the replica set named by WATCHER_MONGODB_URI; without it, starts a real one of its own and keeps its data.

    SIGTERM or Ctrl-C ends in order: what has been read is recorded, the position saved. A second one ends at once;
    nothing is lost then either, it is read again next time.
    """
    settings: Settings = ctx.obj.settings(include=include, exclude=exclude, stream=stream, partition=partition)
    logs.start(settings.log_level, settings.log_format)
    try:
        _run(settings, ctx.obj.config_file, served=served)
    except (FatalError, MongodError, PortInUseError) as error:
        if logs.is_console(settings.log_format):
            click.echo(f"watcher: {error}", err=True)  # for people: lines as they are
        else:
            reason, *advice = (line.strip() for line in str(error).splitlines() if line.strip())
            log.error("cannot go on", reason=reason, advice=advice)  # noqa: TRY400 - the message is the whole story
        ctx.exit(exit_code_of(error))


def _run(settings: Settings, config_file: Path | None, *, served: bool) -> None:
    progress = Progress()
    with ExitStack() as stack:
        if settings.http_port:
            health = HealthServer(settings.http_host, settings.http_port, progress, settings.checkpoint)
            health.start()
            stack.callback(health.close)
        deployments = _deployments(settings, stack)
        _greet(settings, deployments)
        if served:
            stack.enter_context(Serving(deployments.history, settings, config_file))
        try:
            Service(settings, deployments.watched, deployments.history, progress).run()
        except AbortedError:
            log.warning("ended at once, as asked; what was not recorded will be read again")
            sys.stderr.flush()
            os._exit(exit_codes.ABORTED)  # waits for no thread and no server; an embedded one ends with its parent


def _deployments(settings: Settings, stack: ExitStack) -> Deployments:
    if settings.mongodb_uri is not None:
        watched = settings.mongodb_uri.get_secret_value()
    else:
        server = stack.enter_context(EmbeddedServer(settings.embedded_dir, settings.embedded_port))
        watched = server.uri
    history = settings.history_uri.get_secret_value() if settings.history_uri is not None else watched
    return Deployments(watched, history)


def _greet(settings: Settings, deployments: Deployments) -> None:
    """Say on standard output where it listens, what it watches, and how to look."""
    embedded = settings.mongodb_uri is None
    elsewhere = "" if deployments.history == deployments.watched else f" on {uris.mask(deployments.history)}"
    where = f"{uris.mask(deployments.watched)}" + (f"  (embedded, data in {settings.embedded_dir})" if embedded else "")
    lines = [
        ("deployment", where),
        ("watches", ",".join(settings.include) + "".join(f" but not {glob}" for glob in settings.exclude)),
        ("history", f"{settings.history_database}{elsewhere}"),
    ]
    if settings.recorded_partition is not None:
        lines.insert(
            2,
            (
                "partition",
                f"{settings.recorded_partition} of stream {settings.stream!r}, by the `_id` of the documents",
            ),
        )
    if settings.http_port:
        lines.append(("health", f"http://{settings.http_host}:{settings.http_port}/ready"))
    if embedded:
        lines.append(("write", f"mongosh '{deployments.watched}'"))
    lines.append(("look", f"{_program()} log DATABASE.COLLECTION [ID] --follow"))
    for name, text in lines:
        click.echo(f"{name:>10}  {text}")


def _program() -> str:
    """This program as it can be typed here."""
    path = Path(sys.argv[0])
    if path.name == "__main__.py":
        return f"{_typed(Path(sys.executable), Path.absolute)} -m {path.parent.name}"
    return _typed(path, Path.resolve)


def _typed(path: Path, same: Callable[[Path], Path]) -> str:
    """A program by name where the shell would find it, else by its path."""
    found = shutil.which(path.name)
    if found is not None and same(Path(found)) == same(path):
        return path.name
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
