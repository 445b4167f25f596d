"""A privilege that is there is seen, and one that is not is missed: else `doctor` sends people the wrong way."""

from __future__ import annotations

from typing import Any

import pytest

from config.settings import ActorSessions, PreImages, RetentionBy, Settings
from watcher.operations import privileges
from watcher.operations.privileges import CLUSTER, OPLOG, Need, Resource, missing, reaches, watching
from watcher.targets.scope import Scope

ANY = {"db": "", "collection": ""}


@pytest.mark.parametrize(
    ("granted", "wanted", "reached"),
    [
        (ANY, Resource("shop", "users"), True),
        (ANY, Resource("shop"), True),
        (ANY, Resource(), True),
        (ANY, Resource("shop", "system.views"), False),
        (ANY, OPLOG, False),
        (ANY, Resource("config"), False),
        (ANY, CLUSTER, False),
        ({"db": "shop", "collection": ""}, Resource("shop", "users"), True),
        ({"db": "shop", "collection": ""}, Resource("shop"), True),
        ({"db": "shop", "collection": ""}, Resource(), False),
        ({"db": "shop", "collection": ""}, Resource("shop2", "users"), False),
        ({"db": "shop", "collection": "users"}, Resource("shop", "users"), True),
        ({"db": "shop", "collection": "users"}, Resource("shop"), False),
        ({"db": "", "collection": "users"}, Resource("shop", "users"), True),
        ({"db": "", "collection": "users"}, Resource("shop", "orders"), False),
        ({"db": "local", "collection": "oplog.rs"}, OPLOG, True),
        ({"db": "local", "collection": ""}, OPLOG, True),
        ({"cluster": True}, CLUSTER, True),
        ({"cluster": True}, Resource("shop"), False),
        ({"anyResource": True}, CLUSTER, True),
        ({"anyResource": True}, OPLOG, True),
        ({"db": "", "system_buckets": ""}, Resource("shop", "users"), False),
    ],
)
def test_resources_match_as_the_server_matches_them(granted: dict[str, Any], wanted: Resource, reached: bool) -> None:  # noqa: FBT001 - a table
    """As of the server's own `buildResourceSearchList`."""
    assert reaches(granted, wanted) is reached


def test_an_action_counts_only_on_its_own_resource() -> None:
    """Two privileges that have one half each are not a whole one."""
    need = Need(Resource("shop", "users"), "collMod", "")
    granted = [
        {"resource": {"db": "shop", "collection": ""}, "actions": ["find"]},
        {"resource": {"db": "crm", "collection": ""}, "actions": ["collMod"]},
    ]

    assert missing(granted, [need]) == (need,)
    assert missing([*granted, {"resource": ANY, "actions": ["collMod"]}], [need]) == ()


def needed(include: str, **settings: Any) -> dict[str, set[str]]:
    """The actions that the daemon needs, by resource."""
    scope = Scope(tuple(include.split(",")), (), "change_history")
    found: dict[str, set[str]] = {}
    for need in watching(Settings(include=scope.include, **settings), scope):
        found.setdefault(str(need.resource), set()).add(need.action)
    return found


def test_no_more_is_asked_for_than_the_settings_need() -> None:
    """A role that may do more than it needs is what an audit finds first."""
    least = {"pre_images": "off", "baseline": "off", "on_gap": "record"}

    assert needed("*.*")["*.*"] == {"changeStream", "find", "listCollections", "collMod"}
    assert needed("shop.*") == {
        "shop.*": {"changeStream", "find", "listCollections", "collMod"},
        "the cluster": {"replSetGetConfig", "getClusterParameter"},
        "local.oplog.rs": {"find"},
    }
    one = needed("shop.users")
    assert (one["shop.users"], one["shop.*"]) == ({"changeStream", "find", "collMod"}, {"listCollections"})
    two = needed("shop.users,shop.o*,crm.x")  # the stream must be the deployment's, its settings need not
    assert (two["*.*"], two["shop.*"], two["crm.x"]) == (
        {"changeStream", "find"},
        {"listCollections", "collMod"},
        {"collMod"},
    )
    assert "collMod" not in needed("*.*", pre_images="use")["*.*"]
    assert needed("shop.*", **least)["shop.*"] == {"changeStream", "find", "listCollections"}


def test_nothing_that_writes_a_document_is_needed_where_it_is_watched() -> None:
    """Recording must not be able to change what it records."""
    writes = {"insert", "update", "remove", "dropCollection", "renameCollectionSameDB", "dropDatabase"}

    for include in ("*.*", "shop.*", "shop.users", "shop.users,crm.*"):
        assert not writes & set().union(*needed(include).values())


@pytest.mark.parametrize("settings", [{}, {"baseline": "off"}, {"on_gap": "stop"}])
def test_listing_is_essential_as_long_as_anything_depends_on_it(settings: dict[str, Any]) -> None:
    """Pre-images, baseline and reconciliation all begin with knowing which collections there are."""
    scope = Scope(("shop.*",), (), "change_history")
    found = watching(Settings(include=scope.include, pre_images=PreImages.USE, **settings), scope)

    assert [need.essential for need in found if need.action == "listCollections"] == [True]


def test_a_role_names_each_resource_once() -> None:
    """`createRole` takes two documents for one resource, and people then change only the first."""
    found = privileges.documents(privileges.keeping("kept"))

    resources = [(each["resource"]["db"], each["resource"]["collection"]) for each in found]
    assert resources[0] == ("kept", "")
    assert len(set(resources)) == len(resources)
    assert all(len(each["actions"]) == len(set(each["actions"])) for each in found)


def test_who_records_cannot_remove_history() -> None:
    """But where the daemon is to expire it."""
    kept = Resource("kept", "history")
    removes = [need for need in privileges.keeping("kept") if need.action == "remove"]
    assert not any(privileges.reaches(need.resource.document(), kept) for need in removes)
    expiring = privileges.keeping("kept", expires=True)
    assert any(need.action == "remove" and need.resource == kept for need in expiring)
    rules: dict[str, Any] = {"include": ("shop.*",), "retention": "shop.*=30d"}
    assert privileges.expires(Settings(**rules))
    assert not privileges.expires(Settings(**rules, retention_by=RetentionBy.COMMAND))


def test_naming_database_users_needs_to_list_them_and_to_read_the_oplog() -> None:
    """And is not asked for where nobody wants it: it shows every user of the deployment."""
    scope = Scope(("shop.*",), (), "change_history")
    wanted = {("the cluster", "viewUser"), ("local.oplog.rs", "find")}

    def essential(sessions: ActorSessions) -> set[tuple[str, str]]:
        settings = Settings(include=scope.include, actor_sessions=sessions)
        return {(str(need.resource), need.action) for need in watching(settings, scope) if need.essential}

    assert wanted <= essential(ActorSessions.ON)
    assert not wanted & essential(ActorSessions.OFF)
