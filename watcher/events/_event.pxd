"""A change event, taken apart where it lies: the compiled counterpart of `watcher.events.event`, for what is usual."""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memset

from watcher.events._read cimport (
    DATE, DOCUMENT, END, FOUND, NULL_, SMALLEST_DOCUMENT, STRING, TIMESTAMP,
    Bytes, Document, Element, Read,
    following, holds_only, inside, is_a, is_named, is_text, opened,
)

cdef enum:
    LARGEST_EVENT = 64 * 1024 * 1024  # far more than a server delivers; sizes of what is written stay below 2**31
    LONGEST_TOKEN = 2048  # bytes; a server's have some 50, and what the document's `_id` takes

cdef enum Operation:
    OTHER
    INSERT
    UPDATE
    DELETE
    REPLACE

cdef struct Event:
    Element id, operation, cluster_time, wall_time, namespace, key, session, number, after, before, delta, ignored


cdef inline Element *place_of(Event *event, const Element *found) noexcept nogil:
    """Where a field of an event belongs; NULL: an event with such a field is not usual."""
    if is_named(found, "_id"):
        return &event.id
    if is_named(found, "operationType"):
        return &event.operation
    if is_named(found, "clusterTime"):
        return &event.cluster_time
    if is_named(found, "wallTime"):
        return &event.wall_time
    if is_named(found, "ns"):
        return &event.namespace
    if is_named(found, "documentKey"):
        return &event.key
    if is_named(found, "lsid"):
        return &event.session
    if is_named(found, "txnNumber"):
        return &event.number
    if is_named(found, "fullDocument"):
        return &event.after
    if is_named(found, "fullDocumentBeforeChange"):
        return &event.before
    if is_named(found, "rawUpdateDescription"):
        return &event.delta
    if is_named(found, "updateDescription") or is_named(found, "collectionUUID"):
        return &event.ignored
    return NULL


cdef inline bint read_event(Event *event, Bytes data, Py_ssize_t size) noexcept nogil:
    """Take an event apart. Whether it has what every usual event has, and nothing unknown."""
    cdef Document document
    cdef Element found
    cdef Element *place
    cdef Read read
    if size < SMALLEST_DOCUMENT or size > LARGEST_EVENT:
        return False
    memset(event, 0, sizeof(Event))
    document = opened(data, size)
    while (read := following(&document, &found)) == FOUND:
        place = place_of(event, &found)
        if place == NULL:
            return False
        place[0] = found  # of several with one name, the last counts
    if event.before.kind == NULL_:  # the server has none
        event.before.value = NULL
    return (
        read == END
        and is_a(&event.id, DOCUMENT, SMALLEST_DOCUMENT)
        and is_a(&event.cluster_time, TIMESTAMP, 8)
        and is_a(&event.wall_time, DATE, 8)
        and is_a(&event.namespace, DOCUMENT, SMALLEST_DOCUMENT)
        and is_a(&event.key, DOCUMENT, SMALLEST_DOCUMENT)
    )


cdef inline Operation operation_of(const Event *event) noexcept nogil:
    """Which operation on a document an event is of, if it says what such an event should say."""
    if event.before.value != NULL and not is_a(&event.before, DOCUMENT, SMALLEST_DOCUMENT):
        return OTHER
    if is_text(&event.operation, "update"):
        return UPDATE if is_a(&event.delta, DOCUMENT, SMALLEST_DOCUMENT) else OTHER
    if is_text(&event.operation, "delete"):
        return DELETE
    # A pipeline can have moved `_id` away from the front, where the server stores it.
    if is_a(&event.after, DOCUMENT, 9) and memcmp(event.after.value + 5, b"_id", 4) == 0:
        if is_text(&event.operation, "insert"):
            return INSERT
        if is_text(&event.operation, "replace"):
            return REPLACE
    return OTHER


cdef inline int digit(uint8_t character) noexcept nogil:
    if c"0" <= character <= c"9":
        return character - c"0"
    if c"A" <= character <= c"F":
        return character - c"A" + 10
    if c"a" <= character <= c"f":
        return character - c"a" + 10
    return -1


cdef inline Py_ssize_t read_token(const Element *id, uint8_t *token) noexcept nogil:
    """The key string of a resume token, `{_data: <hexadecimal string>}`: how many bytes, or -1: it has another form."""
    cdef Element data
    cdef Py_ssize_t size, place
    cdef int high, low
    if not holds_only(inside(id), "_data", &data) or not is_a(&data, STRING, 5):
        return -1
    size = (data.size - 5) // 2
    if (data.size - 5) % 2 or size > LONGEST_TOKEN:
        return -1
    for place in range(size):
        high, low = digit(data.value[4 + 2 * place]), digit(data.value[5 + 2 * place])
        if high < 0 or low < 0:
            return -1
        token[place] = <uint8_t>(high * 16 + low)
    return size
