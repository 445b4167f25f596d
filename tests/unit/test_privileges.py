"""A privilege that is there is seen, and one that is not is missed: else `doctor` sends people the wrong way."""

from __future__ import annotations

from typing import Any

import pytest

from config.settings import ActorSessions, PreImages, RetentionBy, Settings
from watcher.operations import privileges
from watcher.operations.needs import CLUSTER, OPLOG, Need, Resource, expires, keeping, missing, reaches, watching
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


def kept(**settings: Any) -> Settings:
    """Settings of a daemon that keeps its history in `kept`."""
    return Settings(include=("shop.*",), history_database="kept", **settings)


def written(settings: Settings) -> dict[str, set[str]]:
    """By collection what the daemon may write to it."""
    found: dict[str, set[str]] = {}
    for need in keeping(settings):
        if need.action in {"insert", "update", "remove"}:
            found.setdefault(need.resource.collection, set()).add(need.action)
    return found


def test_a_role_names_each_resource_once() -> None:
    """`createRole` takes two documents for one resource, and people then change only the first."""
    found = privileges.documents(keeping(kept()))

    resources = [(each["resource"]["db"], each["resource"]["collection"]) for each in found]
    assert resources[0] == ("kept", "")
    assert len(set(resources)) == len(resources)
    assert all(len(each["actions"]) == len(set(each["actions"])) for each in found)


def test_who_records_cannot_remove_history() -> None:
    """But where the daemon is to expire it."""
    assert written(kept())["history"] == {"insert", "update"}
    rules: dict[str, Any] = {"retention": "shop.*=30d"}
    assert written(kept(**rules))["history"] == {"insert", "update", "remove"}
    assert expires(kept(**rules))
    by_command = kept(**rules, retention_by=RetentionBy.COMMAND)
    assert not expires(by_command)
    assert written(by_command) == written(kept())


def test_what_says_that_history_was_changed_by_right_is_nothing_that_a_recorder_writes() -> None:
    """Else its password is enough to blank history as if it had been erased, or to say that it has expired."""
    assert not {"erasures", "horizons", "seals", "seal_leaves", "reverts", ""} & written(kept()).keys()
    assert written(kept(retention="shop.*=30d"))["horizons"] == {"insert", "update"}
    assert written(kept(seal="on"))["seals"] == {"insert"}
    everything = written(kept(seal="on", retention="shop.*=30d", actor_sessions="on"))
    assert not {"erasures", "reverts", ""} & everything.keys()
    assert everything["history_parts"] == {"insert", "remove"}


def test_settings_of_the_history_are_nothing_that_a_recorder_changes() -> None:
    """Who may change a collection can turn an index into one by which the server removes it all."""
    changed = {need.resource.collection for need in keeping(kept()) if need.action == "collMod"}

    assert changed == {"changes"}


def test_what_is_needed_for_two_things_is_asked_for_once() -> None:
    """A lack would be told twice, once as a problem and once as a warning."""
    needs = keeping(kept(seal="on", retention="shop.*=30d", actor_sessions="on"))
    found = [(need.resource, need.action) for need in needs]

    assert len(found) == len(set(found))
    (removing,) = [need for need in needs if (need.resource.collection, need.action) == ("rejected", "remove")]
    assert removing.essential  # since it expires history; without that it would not be


def test_naming_database_users_needs_to_list_them_and_to_read_the_oplog() -> None:
    """And is not asked for where nobody wants it: it shows every user of the deployment."""
    scope = Scope(("shop.*",), (), "change_history")
    wanted = {("the cluster", "viewUser"), ("local.oplog.rs", "find")}

    def essential(sessions: ActorSessions) -> set[tuple[str, str]]:
        settings = Settings(include=scope.include, actor_sessions=sessions)
        return {(str(need.resource), need.action) for need in watching(settings, scope) if need.essential}

    assert wanted <= essential(ActorSessions.ON)
    assert not wanted & essential(ActorSessions.OFF)
