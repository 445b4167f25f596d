"""What a seal is made of: the hash tree of RFC 6962, records that forget, keys that are refused with a reason."""

from __future__ import annotations

import random
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from change_history.seals import records, tree
from change_history.seals.seal import Seal, SealKeyError, digest_of, load_key, load_public, read, read_line
from change_history.seals.store import CHUNK
from tests.support.several_daemons import entry

if TYPE_CHECKING:
    from pathlib import Path

VECTORS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
"""Inputs of the test vectors of Certificate Transparency's own Merkle tree."""


def climbed(leaf: bytes, path: list[tuple[str, bytes]]) -> bytes:
    """Where a path leads, as anybody would work it out."""
    for side, other in path:
        pair = other + leaf if side == "left" else leaf + other
        leaf = sha256(b"\x01" + pair).digest()
    return leaf


def test_the_tree_is_that_of_the_rfc() -> None:
    """Whoever has a checker for one can use it."""
    leaves = tree.leaves(map(bytes.fromhex, VECTORS))

    assert tree.root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert tree.root(leaves[:1]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert tree.root(leaves).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 31, 100])
def test_every_leaf_leads_to_the_root(count: int) -> None:
    """Also the one that is left over at each level."""
    leaves = tree.leaves(bytes([number]) for number in range(count))

    assert {climbed(leaf, tree.path(leaves, index)) for index, leaf in enumerate(leaves)} == {tree.root(leaves)}


@pytest.mark.parametrize("count", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5])
def test_the_roots_of_chunks_make_the_root_of_all(count: int) -> None:
    """A proof goes through one chunk, and then from root to root."""
    leaves = tree.leaves(number.to_bytes(4, "big") for number in range(count))
    roots = [tree.root(leaves[start : start + CHUNK]) for start in range(0, count, CHUNK)]

    assert tree.root(roots) == tree.root(leaves)


@pytest.mark.skipif(records.COMPILED is None, reason="installed without a C compiler")
@pytest.mark.parametrize("plainly", [False, True], ids=["by the processor", "by shifts and sums"])
def test_what_is_hashed_compiled_is_what_anybody_else_hashes(*, plainly: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else no seal of this machine could be verified on another one."""
    dice = random.Random(16)
    entries = [dice.randbytes(size) for size in [*range(30, 300), 1000, 4095, 4096, 100_000]]
    kinds, salts = b"n" * len(entries), dice.randbytes(records.SALT_BYTES * len(entries))
    compiled = records.COMPILED
    assert compiled is not None

    def hashed() -> tuple[object, ...]:
        packed = records.packed(entries, kinds, salts)
        some = [packed[: count * records.RECORD_BYTES] for count in (1, 2, 3, 64, 65, 274)]
        return packed, [records.root(each) for each in some], [records.bounds(each) for each in some]

    compiled.plainly(wanted=plainly)
    try:
        quick = hashed()
        texts = [(dice.randbytes(head), dice.randbytes(size)) for head in (0, 1, 16, 63) for size in range(200)]
        assert [compiled.digest(*each) for each in texts] == [sha256(b"".join(each)).digest() for each in texts]
    finally:
        compiled.plainly(wanted=False)
    monkeypatch.setattr(records, "COMPILED", None)
    assert quick == hashed()


@pytest.mark.parametrize("way", ["compiled", "readable"])
def test_what_cannot_be_an_entry_is_refused(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read behind the end of what is too short, and no two entries share a salt."""
    if way == "readable":
        monkeypatch.setattr(records, "COMPILED", None)
    with pytest.raises(ValueError, match="no _id"):
        records.packed([bytes(29)], b"n", bytes(16))
    with pytest.raises(ValueError, match="a salt"):
        records.packed([bytes(30)] * 2, b"nn", bytes(16))


def test_a_record_without_its_salt_says_what_it_said_and_nothing_of_the_values() -> None:
    """What is in the tree stays; whoever guesses the entry finds out nothing."""
    one = entry(1)
    (packed,) = records.commit([one])
    record = records.unpack(packed)
    forgotten = records.unpack(packed[:49] + records.NO_SALT)

    assert record.is_of(one)
    assert not record.is_of(entry(2))
    assert not forgotten.is_of(one)
    assert records.in_tree([packed]) == records.in_tree([forgotten.packed])
    assert record.id == records.id_of(one)


def test_the_same_entry_has_another_commitment_each_time() -> None:
    """Equal values would be seen to be equal."""
    assert len({record[17:49] for record in records.commit([entry(1)] * 50)}) == 50


def test_a_seal_is_read_as_it_was_written() -> None:
    """Its digest is of its text, so the text must have one form only."""
    seal = Seal(3, "ab", "cd", 5, {"new": 5}, {"default": "7:1"}, "2026-01-01T00:00:00.000+00:00", "x 1")

    assert read(seal.text()) == seal
    assert digest_of(seal.text()) == digest_of(read(seal.text()).text())
    for line in ("", "{}", "[]", "7", '{"seal": 1, "digest": 2}', '{"seal": {"number": "1"}, "digest": ""}'):
        with pytest.raises(ValueError, match=r".+"):
            read_line(line)


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused_with_what_to_type(content: bytes, tmp_path: Path) -> None:
    """Before a daemon starts that would seal without signing."""
    file = tmp_path / "key.pem"
    file.write_bytes(content)
    with pytest.raises(SealKeyError, match="openssl genpkey -algorithm ed25519"):
        load_key(file)
    with pytest.raises(SealKeyError, match="cannot be read"):
        load_key(tmp_path / "missing.pem")
    with pytest.raises(SealKeyError, match=r"key"):
        load_public(file)
