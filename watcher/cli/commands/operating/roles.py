"""`watcher roles`: the commands that make users with no more privileges than they need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from watcher.cli import session

if TYPE_CHECKING:
    from config.settings import Settings
    from watcher.cli.session import Context
    from watcher.operations.privileges import Grants

_PURPOSES = ("daemon", "reader", "revert", "eraser", "sealer")


@click.command(epilog="Exit status: 0 printed, 2 wrong usage or settings.")
@click.argument("purposes", metavar="[daemon|reader|revert|eraser|sealer]...", nargs=-1, type=click.Choice(_PURPOSES))
@click.option("--include", metavar="GLOBS", help="As if WATCHER_INCLUDE said so.")
@click.option("--minimal", is_flag=True, help="Leave out what recording can do without; each is marked.")
@click.option("--update", is_flag=True, help="Change roles that are there already; make no users.")
@click.option("--json", "as_json", is_flag=True, help="One command a line, as Extended JSON for db.adminCommand.")
@click.pass_obj
def roles(
    context: Context, *, purposes: tuple[str, ...], include: str | None, minimal: bool, update: bool, as_json: bool
) -> None:
    """Print the commands that make users with no more privileges than they need.

    For mongosh, as an administrator. They follow from the settings: what is watched, WATCHER_PRE_IMAGES,
    WATCHER_BASELINE, WATCHER_ON_GAP, WATCHER_RETENTION, and where history is kept; after a change of these, print them
    again with --update. Nothing is connected to, and no password is printed: mongosh asks for it.

    `daemon` is for `watcher run`, `checkpoint`, `rejected`, `snapshots` and `doctor`; `reader` for the commands that
    read; `revert` for `watcher revert --yes`, the only one that writes watched documents; `eraser` for `watcher erase`
    and `watcher retention run`; `sealer` for `watcher seal`, which cannot change what is recorded. Without any: all.
    """
    from watcher.operations.privileges import PURPOSES, plan
    from watcher.targets.scope import Scope

    settings = context.settings(include=include)
    scope = Scope.of(settings)
    grants = plan(settings, scope, purposes or PURPOSES, minimal=minimal)
    if as_json:
        session.speak_utf8()
        _print_json(grants, update=update)
    else:
        session.survive_any_character()
        click.echo("\n\n".join(_script(settings, place, update=update) for place in grants))


def _print_json(grants: tuple[Grants, ...], *, update: bool) -> None:
    from change_history.bson import extended_json
    from watcher.operations import privileges

    for place in grants:
        documents = [privileges.role_document(role) for role in place.roles]
        if update:
            documents = [{"updateRole": each.pop("createRole"), **each} for each in documents]
        else:
            documents += [privileges.user_document(user) for user in place.users]
        for document in documents:
            click.echo(extended_json.dumps({"deployment": place.deployment, "command": document}))


def _script(settings: Settings, place: Grants, *, update: bool) -> str:
    from config.uri import mask
    from watcher.operations import privileges

    uri = settings.history_uri if place.deployment == privileges.KEEPER else settings.mongodb_uri
    where = mask(uri.get_secret_value()) if uri is not None else "the embedded server, which asks for no password"
    whose = "keeps the history" if place.deployment == privileges.KEEPER else "is watched"
    commands = [privileges.make_role(role, update=update) for role in place.roles]
    if not update:
        commands += [privileges.make_user(user) for user in place.users]
    return "\n\n".join([f"// On the deployment that {whose}: {where}", *commands])
