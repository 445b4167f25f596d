"""Verify the chain of seals: each is unchanged, follows the one before, and covers the records that are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from change_history.seals import tree
from change_history.seals.finding import Finding
from change_history.seals.records import RECORD_BYTES, bounds, root
from change_history.seals.seal import FIRST, SealKeyError, digest_of, is_signed_by
from change_history.seals.store import CHUNK, read_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from change_history.seals.finding import Report
    from change_history.seals.seal import Sealed
    from change_history.seals.store import Store


class Range(NamedTuple):
    """A chunk of records: its least and greatest id, the number of its seal, and its name."""

    first: bytes
    last: bytes
    number: int
    chunk: bytes


class Chain:
    """Verifies the seals of a history.

    Args:
        against: seals that were kept outside the database, by number.
        keys: public keys, hexadecimal, one of which each seal must be signed with; empty: any key is accepted.
        advance: called with the number of records checked since the last call.
    """

    def __init__(
        self,
        store: Store,
        report: Report,
        against: Mapping[int, Sealed],
        keys: Collection[str],
        advance: Callable[[int], object],
    ) -> None:
        self._store = store
        self._report = report
        self._against = against
        self._keys = keys
        self._advance = advance
        self._verifiable = True
        self.ranges: list[Range] = []

    def check(self) -> None:
        """Check every seal, and fill `ranges` with the chunks of records."""
        previous: Sealed | None = None
        for number, found in enumerate(self._store.each(), FIRST):
            try:
                sealed = read_stored(found)
            except ValueError as error:
                self._find(f"seal {found['_id']} cannot be read: {error}", number)
                previous = None
                continue
            self._check(number, found["_id"], sealed, previous)
            previous = sealed
            self._report.seals, self._report.last, self._report.digest = number, sealed.seal, sealed.digest
        self._outside()
        if self._keys and previous is not None and not previous.seal.key:
            self._find(f"the last seal, {previous.seal.number}, is not signed", previous.seal.number)
        if not self._verifiable:
            self._report.remarks.append("signatures were not checked: the package cryptography is not installed")

    def _check(self, number: int, stored: object, sealed: Sealed, previous: Sealed | None) -> None:
        seal = sealed.seal
        last = self._report.last
        if stored != seal.number:
            self._find(f"seal {stored} says that it is seal {seal.number}", seal.number)
        expected = last.number + 1 if last is not None else FIRST
        if seal.number != expected:
            self._find(f"seal {expected} is not there", expected)
        if digest_of(sealed.text) != sealed.digest:
            self._find(f"seal {seal.number} is not what its digest was made of", seal.number)
        if previous is not None and seal.previous != previous.digest:
            self._find(f"seal {seal.number} was not made after the seal before it that is there", seal.number)
        if number == FIRST and seal.previous:
            self._find(f"seal {seal.number} was made after another one, which is not there", seal.number)
        kept = self._against.get(seal.number)
        if kept is not None and kept.digest != sealed.digest:
            self._find(f"seal {seal.number} is not the one that was kept outside", seal.number, "outside")
        self._signature(sealed)
        self._leaves(sealed)

    def _signature(self, sealed: Sealed) -> None:
        seal = sealed.seal
        if not seal.key:
            self._report.unsigned += 1
            if self._report.keys:
                self._find(f"seal {seal.number} is not signed, though one before it is", seal.number)
            return
        if seal.key not in self._report.keys:
            self._report.keys.append(seal.key)
        if self._keys and seal.key not in self._keys:
            self._find(f"seal {seal.number} is signed with another key than was given", seal.number)
        try:
            signed = is_signed_by(seal.key, sealed.digest, sealed.signature)
        except SealKeyError:
            self._verifiable = False
            return
        if not signed:
            self._find(f"the signature of seal {seal.number} is not that of the key it names", seal.number)

    def _leaves(self, sealed: Sealed) -> None:
        seal = sealed.seal
        roots: list[bytes] = []
        count = 0
        sound = True
        for number, chunk in enumerate(self._store.chunks(sealed.leaves)):
            size, odd = divmod(len(chunk.records), RECORD_BYTES)
            sound = sound and not odd and chunk.id[16:] == number.to_bytes(4, "big")
            sound = sound and bool(size) and count == number * CHUNK
            if not size or odd:
                continue
            top, (first, last) = root(chunk.records), bounds(chunk.records)
            sound = sound and chunk.root == top and chunk.bounds == (first, last)
            roots.append(top)
            count += size
            self.ranges.append(Range(first, last, seal.number, chunk.id))
            self._report.count(chunk.records)
            self._advance(size)
        if not sound or count != seal.count or tree.root(roots).hex() != seal.root:
            self._find(
                f"what seal {seal.number} was made of is not there as it was: {seal.count:,} events, "
                f"sealed {seal.time}",
                seal.number,
            )

    def _outside(self) -> None:
        there = self._report.last.number if self._report.last is not None else 0
        missing = sorted(number for number in self._against if number > there)
        if missing:
            more = f" to {missing[-1]}" if len(missing) > 1 else ""
            seal = self._against[missing[0]].seal
            self._find(
                f"seal {missing[0]}{more}, kept outside, is not there: the end of the history was cut off, "
                f"or all of it replaced (sealed {seal.time})",
                missing[0],
                "outside",
            )

    def _find(self, said: str, number: int | None, what: str = "seal") -> None:
        self._report.findings.append(Finding(what, said, None, number))
