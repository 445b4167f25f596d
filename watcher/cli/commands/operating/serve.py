"""`watcher serve`: the history for others, in a browser and over REST; and tokens for those who may read it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from config import checks
from watcher.cli import exit_codes
from watcher.cli.session import CommandError, Context, history_uri

if TYPE_CHECKING:
    from config.settings import Settings
    from watcher.web.settings import WebSettings

_NOT_INSTALLED = (
    "serving needs packages that are not installed; install them: "
    f"{sys.executable} -m pip install 'mongo-change-watcher[web]' (in a checkout '.[web]')"
)


@click.group(
    invoke_without_command=True,
    epilog="Exit status: 0 stopped by a signal, 2 wrong usage or settings, 7 it cannot be served.",
)
@click.option("--host", metavar="ADDRESS", help="The address to listen on. [default: 127.0.0.1]")
@click.option("--port", metavar="PORT", type=int, help="The TCP port; 0: any free one. [default: 8090]")
@click.pass_context
def serve(ctx: click.Context, host: str | None, port: int | None) -> None:
    """Show the history to others: pages for a browser, REST under /api/v1 for programs.

    A process of its own, which only reads. It serves this machine alone, unless WATCHER_SERVE_HOST says otherwise; then
    whoever asks has to show who they are: by a token of the file WATCHER_SERVE_TOKENS, or signed on by a proxy
    (WATCHER_SERVE_USER_HEADER, WATCHER_SERVE_TRUSTED_PROXIES).
    """
    if ctx.invoked_subcommand is not None:
        return
    context: Context = ctx.obj
    settings = context.settings(serve_host=host, serve_port=port)
    try:
        from watcher.web import server
    except ModuleNotFoundError as error:
        raise CommandError(_NOT_INSTALLED, exit_codes.FATAL) from error
    from config import log as logs
    from config.uri import mask
    from watcher.web.tokens import TokensError

    logs.start(settings.log_level, settings.log_format)
    uri = history_uri(settings.connection)
    web = web_settings(settings)

    def greet(port: int) -> None:
        shown = f"[{web.host}]" if ":" in web.host else web.host
        click.echo(f"   history  {settings.history_database} on {mask(uri)}")
        click.echo(f"      look  http://{shown}:{port}{web.root_path}/")
        click.echo(f"  programs  http://{shown}:{port}{web.root_path}/api/v1/openapi.json")

    try:
        server.serve(uri, settings.history_database, web, greet)
    except (server.OpenToAllError, TokensError) as error:
        raise CommandError(str(error), exit_codes.USAGE) from error
    except OSError as error:
        raise CommandError(
            f"cannot serve at {web.host}:{web.port}: {error.strerror or error}", exit_codes.FATAL
        ) from error


@serve.command("token")
@click.argument("name")
@click.option("--read", metavar="GLOBS", required=True, help="What may be read, such as 'shop.*,crm.people'.")
@click.option("--except", "besides", metavar="GLOBS", default="", help="What may not, though covered by --read.")
@click.option("--expires", metavar="DATE", help="From then on it is worth nothing: 2027-01-31, midnight UTC.")
def token(name: str, read: str, besides: str, expires: str | None) -> None:
    """Make a token for somebody who may read.

    Prints the entry for the tokens file on standard output, and the token itself, which is kept nowhere, on standard
    error: watcher serve token support --read 'shop.*' >> tokens.toml
    """
    import json

    from watcher.web.tokens import hash_of, new_token

    try:
        entry = {"name": name, "read": checks.globs(read), "except": checks.globs(besides)}
        if not entry["read"]:
            raise click.UsageError("--read names nothing")
        until = _midnight(expires) if expires is not None else None
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    made = new_token()
    lines = ["[[token]]", f"name = {json.dumps(name)}", f'hash = "{hash_of(made)}"']
    lines += [f"{key} = {json.dumps(entry[key])}" for key in ("read", "except") if entry[key]]
    if until is not None:
        lines.append(f"expires = {until:%Y-%m-%dT%H:%M:%SZ}")
    click.echo("\n".join([*lines, ""]))
    click.echo(f"The token, which is shown only now: {made}", err=True)


def web_settings(settings: Settings) -> WebSettings:
    """What the application must know of the settings."""
    from ipaddress import ip_network

    from watcher.web.settings import WebSettings

    return WebSettings(
        host=settings.serve_host,
        port=settings.serve_port,
        root_path=settings.serve_root_path,
        tokens=settings.serve_tokens,
        user_header=settings.serve_user_header,
        trusted_proxies=tuple(map(ip_network, settings.serve_trusted_proxies)),
        allowed_hosts=settings.serve_allowed_hosts,
        access_log=settings.access_log,
        references=settings.references,
    )


def _midnight(date: str) -> datetime:
    found = datetime.fromisoformat(date)
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
