"""What can never be watched is refused with the settings."""

from __future__ import annotations

import pytest

from config.settings import SettingsError, load


@pytest.mark.parametrize(
    "glob", ["admin.x", "config.*", "local.oplog.rs", "shop.system.buckets.series", "shop.system.views"]
)
def test_what_the_server_opens_no_stream_on_is_no_include(glob: str) -> None:
    """The daemon would watch nothing, or be refused by the server after it has started."""
    with pytest.raises(SettingsError) as error:
        load(include=f"shop.*,{glob}")
    assert f"'{glob}' is in a system database" in str(error.value) or f"'{glob}' is a system collection" in str(
        error.value
    )
    assert "no change stream there" in str(error.value)


def test_what_only_looks_like_it_may_be_included_and_all_of_it_excluded() -> None:
    """A collection may be called `systems`, and leaving out what is never watched does no harm."""
    settings = load(include="shop.systems,administration.x", exclude="admin.*,shop.system.js")

    assert settings.include == ("shop.systems", "administration.x")
