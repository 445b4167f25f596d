"""A part named wrongly must not start: it would leave documents to nobody, or record what another part does."""

import pytest

from change_history.partition import MOST, Partition, all_of, checkpoint_of, read, share
from config.settings import SettingsError, load


@pytest.mark.parametrize(
    ("text", "part"), [("1/1", Partition(1, 1)), (" 2/4 ", Partition(2, 4)), (f"1/{MOST}", Partition(1, MOST))]
)
def test_a_part_is_read_as_it_is_written(text: str, part: Partition) -> None:
    """Disaster: 2/4 is taken for another part, and two daemons record one part and none the other."""
    assert Partition.parse(text) == part
    assert Partition.parse(str(part)) == part


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "0/4", "5/4", "1/0", "-1/4", "1/-4", "1/4/2", "1.0/4", "01/4"),
        *("a/b", "1 / 4", f"1/{MOST + 1}", "\u0661/\u0664", "1/4x"),
    ],
)
def test_what_is_no_part_is_refused(text: str) -> None:
    """Disaster: a slip of the pen starts a daemon that records nothing, and nobody notices."""
    with pytest.raises(ValueError, match=r"I/N|part"):
        Partition.parse(text)
    with pytest.raises(SettingsError, match=r"must be I/N, the I-th of N partitions, such as 2/4"):
        load(partition=text)


def test_parts_have_checkpoints_of_their_own() -> None:
    """Disaster: two parts save their positions over each other's."""
    assert load(partition="2/4").checkpoint == "default:2/4"
    assert load(partition="1/1", stream="a").checkpoint == "a"
    assert load(partition="1/1").recorded_partition is None
    assert load().checkpoint == "default"
    names = [checkpoint_of("s", part) for parts in (1, 2, 3) for part in all_of(parts)]
    assert names == ["s", "s:1/2", "s:2/2", "s:1/3", "s:2/3", "s:3/3"]
    assert [read(name) for name in names[:2]] == [("s", None), ("s", Partition(1, 2))]


@pytest.mark.parametrize("name", ["", ":", "a:", ":1/2", "a:0/2", "a:b", "2/4"])
def test_other_names_are_those_of_whole_streams(name: str) -> None:
    """Disaster: a checkpoint that somebody has made up keeps readers from answering."""
    assert read(name) == (name, None)


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("s", "s", True),
        ("s", "s:1/2", True),
        ("s:1/2", "s:1/2", True),
        ("s:1/2", "s:2/2", False),
        ("s:1/2", "s:3/3", True),
        ("s", "t", False),
        ("s:1/2", "t:1/2", False),
    ],
)
def test_a_gap_of_one_part_is_none_of_the_others(*, one: str, other: str, shared: bool) -> None:
    """Disaster: old values are believed although the events before them were lost by a former part."""
    assert share(one, other) is share(other, one) is shared
