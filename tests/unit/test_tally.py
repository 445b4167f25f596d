"""Counting by namespace, whatever names there are."""

from watcher.health.progress import MOST_NAMESPACES, OTHER, Tally


def test_a_tenant_a_collection_does_not_fill_the_memory_of_prometheus() -> None:
    """Ten thousand collections would be that many time series, and more for each operation."""
    tally = Tally()
    for number in range(10 * MOST_NAMESPACES):
        tally.add({(f"shop.c{number}", "insert"): 1, (f"shop.c{number}", "delete"): 1})
    tally.add({("shop.c0", "update"): 2})
    counts = tally.counts()

    assert len({namespace for namespace, _ in counts}) == MOST_NAMESPACES + 1
    assert counts[OTHER, "insert"] == 9 * MOST_NAMESPACES
    assert counts["shop.c0", "update"] == 2
    assert sum(counts.values()) == 20 * MOST_NAMESPACES + 2


def test_what_is_read_does_not_change_under_the_readers_hands() -> None:
    """A dictionary that grows while it is walked through raises."""
    tally = Tally()
    tally.add({("a.b", "insert"): 1})
    counts = tally.counts()
    tally.add({("a.c", "insert"): 1})

    assert counts == {("a.b", "insert"): 1}
