# cython: language_level=3
"""One document followed through its entries, compiled: what `change_history.reconstruct.fold` does, in place.

The usual entries are applied to the document's bytes. Of all others, and of whatever is malformed, it says that they
are odd: the readable way follows such a document.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memchr, memcmp, memcpy, memmove

from watcher.events._read cimport (
    ARRAY, BINARY, DATE, DOCUMENT, END, FOUND, INT32, SMALLEST_DOCUMENT, STRING,
    Bytes, Document, Element, Read,
    following, inside, int32_at, is_a, is_named, is_text, opened,
)
from watcher.events._update cimport number_of
from watcher.events._write cimport Buffer, close, has_room, opening, put_field

cdef extern from *:
    """
    #ifndef FAST_PATH_SOURCES
    #define FAST_PATH_SOURCES ""
    #endif
    """
    const char *FAST_PATH_SOURCES

MADE_FROM = FAST_PATH_SOURCES.decode()

cdef enum:
    DEEPEST = 32
    MOST_CHANGED_IN_PLACE = 256 * 1024  # bytes of a document; of a larger one each change would move too many
    ID_BYTES = 16
    TIME_BYTES = 8

cdef struct Entry:
    Element id, document_id, operation, timestamp, changes, description
    bint is_odd  # it says more

cdef struct Change:
    Element field, new
    int truncated_to  # -1: nothing was cut off
    bint at_end

cdef struct Way:
    Py_ssize_t containers[DEEPEST]  # where each begins, the document first
    int depth

cdef struct Place:
    bint there
    Py_ssize_t start, value, end  # of the element; where it is not there, of what is inserted
    uint8_t kind
    int length  # of the array


cdef inline bint once(Element *kept, const Element *found) noexcept nogil:
    """Keep a field. False: there was one of the name."""
    if kept.value != NULL:
        return False
    kept[0] = found[0]
    return True


cdef inline bint read_entry(Bytes data, Py_ssize_t size, Entry *entry) noexcept nogil:
    """Read the top of a history document. False: it is malformed, or lacks what every entry has."""
    cdef Document contents
    cdef Element found
    cdef Read read
    cdef bint right = True
    entry.id.value = entry.document_id.value = entry.operation.value = entry.timestamp.value = NULL
    entry.changes.value = entry.description.value = NULL
    entry.is_odd = False
    if size < SMALLEST_DOCUMENT:
        return False
    contents = opened(data, size)
    while (read := following(&contents, &found)) == FOUND:
        if is_named(&found, "_id"):
            right = once(&entry.id, &found)
        elif is_named(&found, "document_id"):
            right = once(&entry.document_id, &found)
        elif is_named(&found, "operation"):
            right = once(&entry.operation, &found)
        elif is_named(&found, "timestamp"):
            right = once(&entry.timestamp, &found)
        elif is_named(&found, "changes"):
            right = once(&entry.changes, &found)
        elif is_named(&found, "description"):
            right = once(&entry.description, &found)
        elif is_named(&found, "parts") or is_named(&found, "key_order"):
            entry.is_odd = True
        if not right:
            return False
    return (
        read == END
        and is_a(&entry.id, BINARY, 5 + ID_BYTES) and entry.id.size == 5 + ID_BYTES
        and entry.document_id.value != NULL
        and is_a(&entry.operation, STRING, 5)
        and is_a(&entry.timestamp, DATE, 8)
    )


cdef inline bint next_change(Document *changes, Change *change) noexcept nogil:
    """Read the next change. False: it is none that is applied here."""
    cdef Element found, inner
    cdef Document said
    cdef Read read
    if following(changes, &found) != FOUND or not is_a(&found, DOCUMENT, SMALLEST_DOCUMENT):
        return False
    said = inside(&found)
    change.field.value = change.new.value = NULL
    change.truncated_to, change.at_end = -1, False
    while (read := following(&said, &inner)) == FOUND:
        if is_named(&inner, "field"):
            if not is_a(&inner, STRING, 6) or not once(&change.field, &inner):
                return False
        elif is_named(&inner, "new_value"):
            if not once(&change.new, &inner):
                return False
        elif is_named(&inner, "truncated_to"):
            if inner.kind != INT32 or int32_at(inner.value) < 0 or change.truncated_to >= 0:
                return False
            change.truncated_to = int32_at(inner.value)
        elif is_named(&inner, "at_end"):
            change.at_end = True
        elif not (is_named(&inner, "old_value") or is_named(&inner, "old_value_from")):
            return False
    # The text of a field: its length, what it says, and a NUL which is the first there.
    return (
        read == END
        and change.field.value != NULL
        and memchr(change.field.value + 4, 0, change.field.size - 4) == change.field.value + change.field.size - 1
    )


cdef inline bint find_place(
    const Buffer *document, Py_ssize_t container, bint in_array, Bytes part, Py_ssize_t size, Place *place
) noexcept nogil:
    """Find an element of a document or an array. False: which one is meant cannot be told."""
    cdef Bytes start = document.start + container
    cdef Document contents = opened(start, int32_at(start))
    cdef Element found
    cdef Read read
    cdef int wanted = number_of(part, size) if in_array else -1
    cdef bint mine
    place.there, place.length = False, 0
    if (in_array and wanted < 0) or contents.end[0] != 0:
        return False
    while (read := following(&contents, &found)) == FOUND:
        if in_array:
            if number_of(found.key, found.key_size) != place.length:
                return False
            mine = place.length == wanted
            place.length += 1
        else:
            mine = found.key_size == size and memcmp(found.key, part, size) == 0
        if not mine:
            continue
        if place.there:
            return False
        place.there, place.kind = True, found.kind
        place.start = found.key - 1 - document.start
        place.value = found.value - document.start
        place.end = place.value + found.size
    if read != END:
        return False
    if not place.there:
        place.start = place.value = place.end = contents.end - document.start
    return not in_array or wanted <= place.length


cdef inline bint splice(
    Buffer *document, const Way *way, Py_ssize_t start, Py_ssize_t end, Py_ssize_t size
) noexcept nogil:
    """Make what lies between two places as large as said, and say so in the lengths of what it lies in."""
    cdef Py_ssize_t more = size - (end - start)
    cdef int32_t length
    cdef int level
    if more > 0 and not has_room(document, more):
        return False
    memmove(document.start + end + more, document.start + end, document.used - end)
    document.used += more
    for level in range(way.depth):
        length = <int32_t>(int32_at(document.start + way.containers[level]) + more)
        memcpy(document.start + way.containers[level], &length, 4)
    return True


cdef inline bint put_at(
    Buffer *document, const Way *way, Py_ssize_t at, Bytes key, Py_ssize_t key_size, const Element *new
) noexcept nogil:
    """Insert an element."""
    if not splice(document, way, at, at, key_size + 2 + new.size):
        return False
    document.start[at] = new.kind
    memcpy(document.start + at + 1, key, key_size)
    document.start[at + 1 + key_size] = 0
    memcpy(document.start + at + 2 + key_size, new.value, new.size)
    return True


cdef inline bint cut(Buffer *document, Way *way, const Place *place, int length) noexcept nogil:
    """Cut an array off. False: it is none."""
    cdef Bytes start = document.start + place.value
    cdef Document contents
    cdef Element found
    cdef Py_ssize_t at
    cdef int index = 0
    if not place.there or place.kind != ARRAY or place.end - place.value < SMALLEST_DOCUMENT or way.depth == DEEPEST:
        return False
    contents = opened(start, place.end - place.value)
    if contents.end[0] != 0:
        return False
    at = contents.end - document.start
    while contents.at < contents.end:
        if index == length:
            at = contents.at - document.start
        if following(&contents, &found) != FOUND or number_of(found.key, found.key_size) != index:
            return False
        index += 1
    way.containers[way.depth] = place.value
    way.depth += 1
    return splice(document, way, at, place.end - 1, 0)


cdef inline bint apply(Buffer *document, const Change *change) noexcept nogil:
    """Apply a change to a document in place. False: it is left to the readable way; the document is then spoilt."""
    cdef Bytes part = change.field.value + 4
    cdef Bytes end = change.field.value + change.field.size - 1
    cdef Bytes dot
    cdef Py_ssize_t size
    cdef bint in_array = False
    cdef Place place
    cdef Way way
    way.depth = 1
    way.containers[0] = 0
    while True:
        dot = <Bytes>memchr(part, c".", end - part)
        size = (dot if dot != NULL else end) - part
        if not find_place(document, way.containers[way.depth - 1], in_array, part, size, &place):
            return False
        if dot == NULL:
            break
        if not place.there or place.kind not in (DOCUMENT, ARRAY) or place.end - place.value < SMALLEST_DOCUMENT:
            return False
        if way.depth == DEEPEST:
            return False
        in_array = place.kind == ARRAY
        way.containers[way.depth] = place.value
        way.depth += 1
        part = dot + 1
    if change.truncated_to >= 0:
        return change.new.value == NULL and cut(document, &way, &place, change.truncated_to)
    if change.new.value == NULL:
        return place.there and not in_array and splice(document, &way, place.start, place.end, 0)
    if place.there and change.at_end and not in_array:
        if not splice(document, &way, place.start, place.end, 0):
            return False
        place.there = False
        place.start = way.containers[way.depth - 1]
        place.start += int32_at(document.start + place.start) - 1
    if not place.there:
        return put_at(document, &way, place.start, part, size, &change.new)
    if not splice(document, &way, place.value, place.end, change.new.size):
        return False
    document.start[place.start] = change.new.kind
    memcpy(document.start + place.value, change.new.value, change.new.size)
    return True


cdef class Folded:
    """A document that is followed from its first entry on.

    Args:
        before: only entries of an earlier cluster time are usual.

    Attributes:
        ids: `_id`s of its entries.
        base: `_id` of the entry by which the last one that told it whole is to be judged.
        wall: latest wall time of an entry, in milliseconds since 1970.
        is_odd: an entry is not applied here: the rest says nothing.
    """

    cdef Buffer _document
    cdef bint _there
    cdef bytes _id
    cdef uint64_t _last, _before
    cdef readonly list ids
    cdef readonly bytes base
    cdef readonly int64_t wall
    cdef public bint is_odd

    def __cinit__(self, before: int):
        self._document = Buffer(NULL, 0, 0, False)
        self._there = False
        self._id = None
        self._last, self._before = 0, before
        self.ids, self.base, self.wall, self.is_odd = [], b"", 0, False

    def __dealloc__(self):
        free(self._document.start)

    def document(self):
        """Its bytes; None: it is not there any more."""
        if not self._there:
            return None
        return PyBytes_FromStringAndSize(<char *>self._document.start, self._document.used)

    def take(self, bytes stored not None):
        """Take the next entry, or find it odd. False: it is of another document, or its `_id` is written otherwise."""
        cdef Bytes data = <Bytes>PyBytes_AS_STRING(stored)
        cdef Entry entry
        cdef int64_t wall
        if not read_entry(data, PyBytes_GET_SIZE(stored), &entry):
            if entry.document_id.value == NULL or not self._is_mine(&entry):
                return False
            self.is_odd = True
            return True
        if not self._is_mine(&entry):
            return False
        if self.is_odd:
            return True
        if entry.is_odd or not self._follows(&entry) or not self._applied(&entry):
            self.is_odd = True
            return True
        memcpy(&wall, entry.timestamp.value, 8)
        self.wall = max(self.wall, wall)
        self.ids.append(PyBytes_FromStringAndSize(<const char *>entry.id.value + 5, ID_BYTES))
        return True

    cdef bint _is_mine(self, const Entry *entry):
        cdef const Element *found = &entry.document_id
        cdef Bytes mine
        if self._id is None:
            self._id = bytes((found.kind,)) + PyBytes_FromStringAndSize(<const char *>found.value, found.size)
            return True
        mine = <Bytes>PyBytes_AS_STRING(self._id)
        return (
            PyBytes_GET_SIZE(self._id) == found.size + 1
            and mine[0] == found.kind
            and memcmp(mine + 1, found.value, found.size) == 0
        )

    cdef bint _follows(self, const Entry *entry):
        """Whether it comes after the last one, in another cluster time."""
        cdef uint64_t time = 0
        cdef int place
        for place in range(TIME_BYTES):
            time = (time << 8) | entry.id.value[5 + place]
        if time <= self._last or time >= self._before:
            return False
        self._last = time
        return True

    cdef bint _applied(self, const Entry *entry):
        if is_text(&entry.operation, "update"):
            return entry.description.value == NULL and self._updated(entry)
        if is_text(&entry.operation, "delete"):
            if entry.description.value != NULL:
                return False
            self._there = False
        elif is_text(&entry.operation, "insert") or is_text(&entry.operation, "baseline"):
            if not self._told(entry):
                return False
        else:
            return False
        self.base = PyBytes_FromStringAndSize(<const char *>entry.id.value + 5, ID_BYTES)
        return entry.description.value == NULL or self._relies(entry)

    cdef bint _relies(self, const Entry *entry):
        """Find what a base relies on. False: it is none."""
        cdef Document said
        cdef Element found
        cdef Read read
        if not is_text(&entry.operation, "baseline") or not is_a(&entry.description, DOCUMENT, SMALLEST_DOCUMENT):
            return False
        said = inside(&entry.description)
        while (read := following(&said, &found)) == FOUND:
            if is_named(&found, "base"):
                if not is_a(&found, BINARY, 5 + ID_BYTES) or found.size != 5 + ID_BYTES:
                    return False
                self.base = PyBytes_FromStringAndSize(<const char *>found.value + 5, ID_BYTES)
        return read == END

    cdef bint _told(self, const Entry *entry):
        """Take the document that an insert or a baseline tells. False: its changes say more than fields with values."""
        cdef Document changes
        cdef Change change
        cdef Py_ssize_t start, size
        if not is_a(&entry.changes, ARRAY, SMALLEST_DOCUMENT + 1):
            return False
        changes = inside(&entry.changes)
        self._document.used = 0
        start = opening(&self._document)
        while changes.at < changes.end:
            if not next_change(&changes, &change) or change.new.value == NULL or change.at_end:
                return False
            size = change.field.size - 5
            if change.truncated_to >= 0 or memchr(change.field.value + 4, c".", size) != NULL:
                return False
            put_field(&self._document, change.field.value + 4, size, &change.new)
        close(&self._document, start)
        self._there = not self._document.failed
        return self._there

    cdef bint _updated(self, const Entry *entry):
        cdef Document changes
        cdef Change change
        if not self._there or self._document.used > MOST_CHANGED_IN_PLACE:
            return False
        if not is_a(&entry.changes, ARRAY, SMALLEST_DOCUMENT):
            return False
        changes = inside(&entry.changes)
        while changes.at < changes.end:
            if not next_change(&changes, &change) or not apply(&self._document, &change):
                return False
        return True
