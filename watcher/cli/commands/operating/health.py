"""`watcher health`: what the running daemon says of itself. For a container's health check, and a quick look."""

from __future__ import annotations

import json
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from watcher.cli import exit_codes

if TYPE_CHECKING:
    from config.settings import Settings

_TIMEOUT_S = 3.0
_UNHEALTHY = 1  # the only failing status that Docker's HEALTHCHECK knows
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where the daemon listens everywhere, ask here


@click.command()
@click.option("--live", is_flag=True, help="Ask only whether it is alive, not whether the history is up to date.")
@click.option("--serve", "served", is_flag=True, help="Ask `watcher serve` instead of the daemon.")
@click.pass_context
def health(ctx: click.Context, *, live: bool, served: bool) -> None:
    """Ask the running daemon whether it is ready.

    Asks at WATCHER_HTTP_HOST and WATCHER_HTTP_PORT; with --serve, at WATCHER_SERVE_HOST and WATCHER_SERVE_PORT. Exit
    status 0: yes; 1: no, or no answer.
    """
    settings: Settings = ctx.obj.settings()
    if served:
        fine, line = ask_served(settings.serve_host, settings.serve_port, live=live)
    else:
        fine, line = ask(settings.http_host, settings.http_port, live=live)
    click.echo(line, err=not fine)
    ctx.exit(exit_codes.OK if fine else _UNHEALTHY)


def ask_served(host: str, port: int, *, live: bool) -> tuple[bool, str]:
    """Ask `watcher serve` how it is; arguments and answer are those of `ask`."""
    asked = _ask(host, port, live=live, program="watcher serve", setting="WATCHER_SERVE_PORT")
    if isinstance(asked, str):
        return False, asked
    if asked.fine:
        return True, "live" if live else "ready"
    return False, "not live" if live else "not ready: the history does not answer"


def ask(host: str, port: int, *, live: bool) -> tuple[bool, str]:
    """Ask a daemon how it is.

    Args:
        host: the address it listens on.
        port: its port; 0: it does not listen.
        live: ask only whether it is alive.

    Returns:
        Whether all is well, and one line for a person.
    """
    if not port:
        return False, "health is switched off (WATCHER_HTTP_PORT=0)"
    asked = _ask(host, port, live=live, program="watcher run", setting="WATCHER_HTTP_PORT")
    if isinstance(asked, str):
        return False, asked
    fine, facts = asked
    if live:
        return fine, "live" if fine else "not live: it has not moved for too long"
    return fine, _readiness(facts) if fine else "not ready: " + "; ".join(facts["reasons"])


class _Said(NamedTuple):
    fine: bool
    facts: dict[str, Any]


def _ask(host: str, port: int, *, live: bool, program: str, setting: str) -> _Said | str:
    """What is answered; or, if nothing of ours answers, that in words."""
    path = "/live" if live else "/ready"
    where = f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"
    try:
        status, facts = _get(_ANY_ADDRESS.get(host, host), port, path)
    except OSError as error:
        return f"no answer from {where}: {error.strerror or error}; is `{program}` running, on this port?"
    except (HTTPException, ValueError):
        return f"what answers at {where} is not watcher; is {setting} right?"
    return _Said(status == HTTPStatus.OK, facts)


def _readiness(facts: dict[str, Any]) -> str:
    if facts["role"] == "standby":
        return f"ready: standing by for {facts['led_by'] or 'whoever led last'}"
    return f"ready: {facts['events']} events recorded, {facts['lag_seconds']} s behind"


def _get(host: str, port: int, path: str) -> tuple[int, dict[str, Any]]:
    """Ask, without any proxy.

    Raises:
        ValueError: the answer is not the daemon's.
    """
    connection = HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        facts = json.loads(response.read())
    finally:
        connection.close()
    ours = isinstance(facts, dict) and path[1:] in facts
    if not ours or response.status not in {HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE}:
        raise ValueError("not the daemon's answer")
    return response.status, facts
