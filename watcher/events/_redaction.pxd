"""An event written again with withheld values: the compiled counterpart of `watcher.events.redaction`.

What is odd is declined, and what holds withheld values already: the readable way does it, to the same bytes.
"""

from libc.stdint cimport int64_t, int32_t, uint8_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from watcher.events._blake2b cimport DIGEST_BYTES, blake2b_of
from watcher.events._read cimport (
    ARRAY, BINARY, BOOLEAN, DOCUMENT, END, FOUND, INT32, INT64, SMALLEST_DOCUMENT, STRING, SYMBOL,
    Bytes, Document, Element, Read,
    following, inside, int32_at, is_a, is_named,
)
from watcher.events._update cimport number_of
from watcher.events._write cimport Buffer, close, opening, put, put_byte, put_int32, put_key, put_name

cdef extern from *:
    """
    #define lowest_bit(bits) __builtin_ctzll(bits)
    """
    int lowest_bit(uint64_t bits) nogil

cdef enum:
    MOST_POSITIONS = 64  # bits of a state
    MOST_SIZES = 32
    DEEPEST_INSIDE = 150  # documents and arrays within one another; a server stores 180 at most, and here is a stack
    MOST_SHOWN = 4
    MOST_SHOWN_BYTES = 16
    FEWEST_MASKED = 8
    MAGIC_BYTES = 10
    MOST_DIGITS = 20

cdef enum Kind:  # of a part
    LITERAL
    GLOB
    ANY_DEPTH
    RULE_END

cdef enum How:
    DROP
    MASK
    HASH

cdef struct Position:
    Kind kind
    Bytes text
    Py_ssize_t size
    uint64_t reached
    How how  # RULE_END

cdef struct Rules:
    Position positions[MOST_POSITIONS]
    int count
    uint64_t start
    uint64_t ended
    uint64_t of_size[MOST_SIZES]  # positions that a key of a size can match; the last is of all longer ones
    uint64_t of_first[256]  # those that a key with a first byte can match
    uint64_t keyed[8]  # the state of BLAKE2b after the key
    Bytes hashed_head  # of a hashed value: what is before the digest; empty without a key
    Py_ssize_t hashed_head_size
    bint blind  # what is written replaces a document that nobody knows
    bint touched  # something was withheld
    bint marked  # and a value is marked as changed
    Bytes magic


cdef inline bint continues(uint8_t byte) noexcept nogil:
    """Whether a byte is not the first of a character in UTF-8."""
    return byte & 0xC0 == 0x80


cdef inline bint fits(const Position *part, Bytes key, Py_ssize_t size) noexcept nogil:
    """Whether a key matches a glob: `*` and `?`."""
    cdef Py_ssize_t at = 0, place = 0, star = -1, tried = 0
    while at < size:
        if place < part.size and part.text[place] == c"*":
            star, tried = place, at
            place += 1
        elif place < part.size and part.text[place] == c"?":
            place += 1
            at += 1
            while at < size and continues(key[at]):
                at += 1
        elif place < part.size and part.text[place] == key[at]:
            place += 1
            at += 1
        elif star >= 0:
            tried += 1
            place, at = star + 1, tried
        else:
            return False
    while place < part.size and part.text[place] == c"*":
        place += 1
    return place == part.size


cdef inline uint64_t stepped(const Rules *rules, uint64_t state, Bytes key, Py_ssize_t size) noexcept nogil:
    cdef uint64_t found = 0
    cdef const Position *part
    cdef int place
    state &= rules.of_size[size if size < MOST_SIZES else MOST_SIZES - 1]
    if size:
        state &= rules.of_first[key[0]]
    while state:
        place = lowest_bit(state)
        state &= state - 1
        part = &rules.positions[place]
        if part.kind == LITERAL:
            if part.size == size and memcmp(part.text, key, size) == 0:
                found |= rules.positions[place + 1].reached
        elif part.kind == GLOB:
            if fits(part, key, size):
                found |= rules.positions[place + 1].reached
        elif part.kind == ANY_DEPTH:
            found |= part.reached
    return found


cdef inline uint64_t after_key(const Rules *rules, uint64_t state, Bytes key, Py_ssize_t size) noexcept nogil:
    """Go on by a key of a document, which with dots is also read as the path that it looks like."""
    cdef uint64_t found, inner, ended = 0
    cdef Py_ssize_t at, begin = 0
    if not state:
        return 0
    found = stepped(rules, state, key, size)
    if size and memchr(key, c".", size) != NULL:
        inner = state
        for at in range(size + 1):
            if at == size or key[at] == c".":
                inner = stepped(rules, inner, key + begin, at - begin)
                ended |= inner & rules.ended
                begin = at + 1
        found |= inner | ended
    return found


cdef inline uint64_t after_index(const Rules *rules, uint64_t state, Bytes index, Py_ssize_t size) noexcept nogil:
    return state | stepped(rules, state, index, size) if state else 0


cdef inline Py_ssize_t last_characters(Bytes text, Py_ssize_t size, Bytes *last) noexcept nogil:
    """The last characters of a text that has enough of them: how many bytes."""
    cdef Py_ssize_t at, starts = 0
    cdef Py_ssize_t begin = size
    for at in range(size - 1, -1, -1):
        if not continues(text[at]):
            starts += 1
            if starts == MOST_SHOWN:
                begin = at
            elif starts == FEWEST_MASKED:
                break
    if starts < FEWEST_MASKED or size - begin > MOST_SHOWN_BYTES:
        return 0
    last[0] = text + begin
    return size - begin


cdef inline Py_ssize_t shown_of(const Element *found, uint8_t *digits, Bytes *last) noexcept nogil:
    """What a mask shows of a value; `digits` is room for a number."""
    cdef int64_t number
    cdef uint64_t rest
    cdef int at = MOST_DIGITS
    if found.kind == STRING or found.kind == SYMBOL:
        return last_characters(found.value + 4, found.size - 5, last) if found.size >= 5 else 0
    if found.kind == INT32:
        number = int32_at(found.value)
    elif found.kind == INT64:
        memcpy(&number, found.value, 8)
    else:
        return 0
    rest = <uint64_t>0 - <uint64_t>number if number < 0 else <uint64_t>number
    while at == MOST_DIGITS or rest:
        at -= 1
        digits[at] = <uint8_t>(c"0" + rest % 10)
        rest //= 10
    return last_characters(&digits[at], MOST_DIGITS - at, last)


cdef inline bint looks_withheld(const Rules *rules, const Element *found) noexcept nogil:
    return (
        found.kind == BINARY
        and found.size >= 5 + MAGIC_BYTES
        and memcmp(found.value + 5, rules.magic, MAGIC_BYTES) == 0
    )


cdef inline void put_head(
    const Rules *rules, Buffer *buffer, uint8_t how, uint8_t kind, Py_ssize_t rest, bint changed
) noexcept nogil:
    """Write a withheld value but for what is behind its head."""
    put_int32(buffer, MAGIC_BYTES + 3 + rest)
    put_byte(buffer, 0xB5)
    put(buffer, rules.magic, MAGIC_BYTES)
    put_byte(buffer, changed)
    put_byte(buffer, how)
    put_byte(buffer, kind)


cdef inline bint put_withheld(
    Rules *rules, Buffer *buffer, uint64_t state, const Element *found, const Element *was
) noexcept nogil:
    """Write what is kept of a value that is covered; its key is written. False: it is declined.

    Args:
        was: the value that it replaces; without a value: none.
    """
    cdef How how = rules.positions[lowest_bit(state & rules.ended)].how
    cdef bint differs = rules.blind or was.value != NULL and (
        was.kind != found.kind or was.size != found.size or memcmp(was.value, found.value, found.size) != 0
    )
    cdef uint8_t digits[MOST_DIGITS]
    cdef uint8_t digits_before[MOST_DIGITS]
    cdef Bytes last = NULL, last_before = NULL
    cdef Py_ssize_t shown, before
    cdef uint8_t digest[DIGEST_BYTES]
    rules.touched = True
    if looks_withheld(rules, found) or (was.value != NULL and looks_withheld(rules, was)):
        return False
    if how == DROP:
        rules.marked = rules.marked or differs
        put_head(rules, buffer, c"d", 0, 0, differs)
    elif how == MASK:
        shown = shown_of(found, digits, &last)
        if differs and not rules.blind:
            before = shown_of(was, digits_before, &last_before)
            differs = was.kind == found.kind and before == shown and (
                shown == 0 or memcmp(last, last_before, shown) == 0
            )
        rules.marked = rules.marked or differs
        put_head(rules, buffer, c"m", found.kind, shown, differs)
        if shown:
            put(buffer, last, shown)
    elif not rules.hashed_head_size:
        return False
    else:
        blake2b_of(rules.keyed, found.kind, found.value, found.size, digest)
        put(buffer, rules.hashed_head, rules.hashed_head_size)
        put(buffer, digest, DIGEST_BYTES)
    return True


cdef inline bint is_whole(const Element *container) noexcept nogil:
    """Whether a document or an array says its own length, and is closed."""
    return int32_at(container.value) == container.size and container.value[container.size - 1] == 0


cdef inline bint find_same(const Element *container, const Element *named, Element *wanted) noexcept nogil:
    """Find a field of another document by its name, the last where several have it. False: that one is malformed."""
    cdef Document contents
    cdef Element other
    cdef Read read
    wanted.value = NULL
    if container.value == NULL:
        return True
    contents = inside(container)
    while (read := following(&contents, &other)) == FOUND:
        if other.key_size == named.key_size and memcmp(other.key, named.key, named.key_size) == 0:
            wanted[0] = other
    return read == END


cdef inline bint put_inside(
    Rules *rules, Buffer *buffer, const Element *container, uint64_t state, bint top, bint array, const Element *was,
    int depth,
) noexcept nogil:
    """Write a document or an array, with what is covered in it withheld. False: it is declined."""
    cdef Document contents = inside(container)
    cdef Element found, before
    cdef Read read
    cdef uint64_t below
    cdef Py_ssize_t start = opening(buffer)
    cdef Bytes rest = contents.at  # what is not written yet
    cdef Element compared = was[0]
    if depth == DEEPEST_INSIDE or not is_whole(container):
        return False
    if compared.value != NULL and compared.size == container.size and (
        memcmp(compared.value, container.value, container.size) == 0
    ):
        compared.value = NULL  # nothing in it changed
    while (read := following(&contents, &found)) == FOUND:
        below = 0
        if not (top and is_named(&found, "_id")):
            below = (
                after_index(rules, state, found.key, found.key_size)
                if array
                else after_key(rules, state, found.key, found.key_size)
            )
        if not below or (not below & rules.ended and found.kind != DOCUMENT and found.kind != ARRAY):
            continue
        put(buffer, rest, found.key - 1 - rest)
        rest = found.value + found.size
        if not find_same(&compared, &found, &before):
            return False
        if below & rules.ended:
            put_key(buffer, BINARY, found.key, found.key_size)
            if not put_withheld(rules, buffer, below, &found, &before):
                return False
            continue
        if found.size < SMALLEST_DOCUMENT:
            return False
        if before.value != NULL and (before.kind != found.kind or before.size < SMALLEST_DOCUMENT):
            before.value = NULL
        put_key(buffer, found.kind, found.key, found.key_size)
        if not put_inside(rules, buffer, &found, below, False, found.kind == ARRAY, &before, depth + 1):
            return False
    if read != END:
        return False
    put(buffer, rest, contents.at - rest)
    close(buffer, start)
    return True


cdef inline int is_of_array(const Element *delta) noexcept nogil:
    """Whether what was done was done to an array; -1: it is malformed."""
    cdef Document contents = inside(delta)
    cdef Element mark, other
    cdef Read read
    if contents.at >= contents.end:
        return False
    if following(&contents, &mark) != FOUND:
        return -1
    while (read := following(&contents, &other)) == FOUND:
        pass
    return mark.kind == BOOLEAN and is_named(&mark, "a") if read == END else -1


cdef inline bint put_collapsed(
    Rules *rules, Buffer *buffer, uint64_t state, const Element *delta
) noexcept nogil:
    """Write what is kept of a document or an array that is covered and was changed within. False: it is declined."""
    cdef How how = rules.positions[lowest_bit(state & rules.ended)].how
    cdef int array = is_of_array(delta)
    rules.touched = True
    if array < 0 or how == HASH:
        return False
    if how == DROP:
        put_head(rules, buffer, c"d", 0, 0, False)
    else:
        put_head(rules, buffer, c"m", ARRAY if array else DOCUMENT, 0, False)
    return True


cdef inline bint put_delta(
    Rules *rules, Buffer *buffer, const Element *delta, uint64_t state, bint top, int depth
) noexcept nogil:
    """Write what an update did to a document. False: it is declined."""
    cdef Document contents = inside(delta)
    cdef Element section, key, nothing
    cdef Read read
    cdef uint64_t below
    cdef Py_ssize_t start = opening(buffer), within
    memset(&nothing, 0, sizeof(Element))
    if depth == DEEPEST_INSIDE or not is_whole(delta):
        return False
    while (read := following(&contents, &section)) == FOUND:
        if is_named(&section, "d"):
            put(buffer, section.key - 1, section.value + section.size - section.key + 1)
            continue
        if section.kind != DOCUMENT or section.size < SMALLEST_DOCUMENT or section.key_size == 0:
            return False
        if is_named(&section, "u") or is_named(&section, "i"):
            put_key(buffer, DOCUMENT, section.key, section.key_size)
            if not put_inside(rules, buffer, &section, state, top, False, &nothing, depth + 1):
                return False
            continue
        if section.key[0] != c"s":
            return False
        key = section
        key.key += 1
        key.key_size -= 1
        below = 0 if top and is_named(&key, "_id") else after_key(rules, state, key.key, key.key_size)
        if below & rules.ended:
            put_name(buffer, DOCUMENT, "u")
            within = opening(buffer)
            put_key(buffer, BINARY, key.key, key.key_size)
            if not put_collapsed(rules, buffer, below, &section):
                return False
            close(buffer, within)
        elif not put_below(rules, buffer, &section, below, depth):
            return False
    close(buffer, start)
    return read == END


cdef inline bint put_below(
    Rules *rules, Buffer *buffer, const Element *section, uint64_t state, int depth
) noexcept nogil:
    """Write what an update did within a field or an element that is not covered itself. False: it is declined."""
    cdef int array
    if not state:
        put(buffer, section.key - 1, section.value + section.size - section.key + 1)
        return True
    array = is_of_array(section)
    if array < 0:
        return False
    put_key(buffer, DOCUMENT, section.key, section.key_size)
    if array:
        return put_delta_of_array(rules, buffer, section, state, depth + 1)
    return put_delta(rules, buffer, section, state, False, depth + 1)


cdef inline bint put_delta_of_array(
    Rules *rules, Buffer *buffer, const Element *delta, uint64_t state, int depth
) noexcept nogil:
    cdef Document contents = inside(delta)
    cdef Element section, index, nothing
    cdef Read read
    cdef uint64_t below
    cdef Py_ssize_t start = opening(buffer)
    memset(&nothing, 0, sizeof(Element))
    if depth == DEEPEST_INSIDE or not is_whole(delta):
        return False
    while (read := following(&contents, &section)) == FOUND:
        if is_named(&section, "a") or is_named(&section, "l"):
            put(buffer, section.key - 1, section.value + section.size - section.key + 1)
            continue
        index = section
        index.key += 1
        index.key_size -= 1
        if section.key[0] not in (c"u", c"s") or number_of(index.key, index.key_size) < 0:
            return False
        below = after_index(rules, state, index.key, index.key_size)
        if section.key[0] == c"u":
            if below & rules.ended:
                put_key(buffer, BINARY, section.key, section.key_size)
                if not put_withheld(rules, buffer, below, &section, &nothing):
                    return False
            elif section.kind in (DOCUMENT, ARRAY):
                if section.size < SMALLEST_DOCUMENT:
                    return False
                put_key(buffer, section.kind, section.key, section.key_size)
                if not put_inside(
                    rules, buffer, &section, below, False, section.kind == ARRAY, &nothing, depth + 1
                ):
                    return False
            else:
                put(buffer, section.key - 1, section.value + section.size - section.key + 1)
            continue
        if section.kind != DOCUMENT or section.size < SMALLEST_DOCUMENT:
            return False
        if below & rules.ended:
            put_byte(buffer, BINARY)
            put_byte(buffer, c"u")
            put(buffer, index.key, index.key_size)
            put_byte(buffer, 0)
            if not put_collapsed(rules, buffer, below, &section):
                return False
        elif not put_below(rules, buffer, &section, below, depth):
            return False
    close(buffer, start)
    return read == END


cdef inline bint put_raw_description(
    Rules *rules, Buffer *buffer, const Element *description
) noexcept nogil:
    """Write `{$v: 2, diff: {…}}`. False: it is declined, as any other form is."""
    cdef Document contents = inside(description)
    cdef Element found
    cdef Read read
    cdef Py_ssize_t start = opening(buffer)
    if not is_whole(description):
        return False
    while (read := following(&contents, &found)) == FOUND:
        if is_named(&found, "$v"):
            put(buffer, found.key - 1, found.value + found.size - found.key + 1)
        elif is_named(&found, "diff") and is_a(&found, DOCUMENT, SMALLEST_DOCUMENT):
            put_key(buffer, DOCUMENT, found.key, found.key_size)
            if not put_delta(rules, buffer, &found, rules.start, True, 0):
                return False
        else:
            return False
    close(buffer, start)
    return read == END
