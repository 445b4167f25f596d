# cython: language_level=3
"""The usual event, read and written in one pass over its bytes. See `watcher.events.fast_path`.

Usual are inserts, deletes, and updates of fields at the top of a document, with the image that each needs, as servers
since 6.0 send them. Everything is checked as in `change_history.bson.raw`, or more strictly. What is not usual, and what is
malformed, is declined: `watcher.events.record` knows what it is, or what is wrong with it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.stdlib cimport abort
from libc.string cimport memchr

from watcher.events._event cimport (
    DELETE, INSERT, LONGEST_TOKEN, OTHER, UPDATE,
    Event, Operation,
    operation_of, read_event, read_token,
)
from watcher.events._read cimport (
    ARRAY, BOOLEAN, DOCUMENT, END, FOUND, INT32, SMALLEST_DOCUMENT,
    Bytes, Document, Element, Read,
    find, following, inside, int32_at, is_a, is_named, opened, same_name,
)
from watcher.events._write cimport close, put, put_binary, put_index, put_name, put_text, put_value

from hashlib import blake2b

from watcher.events.event import namespace_of

cdef enum:
    MOST_STEPS = 64
    AROUND_CHANGE = 64  # the most bytes that a change has beside its names and values
    AROUND_HISTORY = 512  # the same of the rest of a history document

cdef struct Step:
    Element field  # with its new value, if it is not removed
    Element old
    bint removed
    bint at_end

cdef struct Update:
    int count
    Step steps[MOST_STEPS]

cdef extern from *:
    """
    #ifndef FAST_PATH_SOURCES
    #define FAST_PATH_SOURCES ""
    #endif
    """
    const char *FAST_PATH_SOURCES

MADE_FROM = FAST_PATH_SOURCES.decode()
_NAMES = {INSERT: b"insert", UPDATE: b"update", DELETE: b"delete"}


def record(bytes data not None):
    """The history document of a usual event.

    Args:
        data: the event as the server sent it, BSON.

    Returns:
        The document, byte for byte as `watcher.events.record.record` writes it, its namespace and its operation; None: the event
        is not usual.
    """
    cdef Event event
    cdef Update update
    cdef Element document_id
    cdef Operation operation
    cdef uint8_t token[LONGEST_TOKEN]
    cdef uint8_t identity[16]
    cdef Py_ssize_t token_size, room
    cdef int number
    cdef uint8_t *start
    cdef uint8_t *at
    cdef uint8_t *inner
    cdef bytes namespace, digest, document
    if not read_event(&event, <Bytes>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)):
        return None
    if not find(inside(&event.key), "_id", &document_id):
        return None
    operation = operation_of(&event)
    if operation == OTHER:
        return None
    if operation == UPDATE:
        room = read_update(&update, &event)
    else:
        room = room_for_each(&event.after if operation == INSERT else &event.before)
    token_size = read_token(&event.id, token)
    if room < 0 or token_size < 0:
        return None
    try:
        namespace = namespace_of(PyBytes_FromStringAndSize(<const char *>event.namespace.value, event.namespace.size))
    except ValueError:
        return None
    if not namespace:
        return None
    digest = blake2b(PyBytes_FromStringAndSize(<const char *>token, token_size), digest_size=8).digest()
    for number in range(8):
        identity[number] = event.cluster_time.value[7 - number]  # big-endian, so that it sorts
    put(&identity[8], PyBytes_AS_STRING(digest), 8)

    room += AROUND_HISTORY + PyBytes_GET_SIZE(namespace) + document_id.size + token_size
    room += event.session.size + event.number.size
    document = PyBytes_FromStringAndSize(NULL, room)
    start = <uint8_t *>PyBytes_AS_STRING(document)
    at = put_binary(start + 4, "_id", identity, 16)
    at = put_text(at, "namespace", PyBytes_AS_STRING(namespace), PyBytes_GET_SIZE(namespace))
    at = put_value(at, "document_id", &document_id)
    at = put_value(at, "operation", &event.operation)
    at = put_value(at, "timestamp", &event.wall_time)
    at = put_value(at, "cluster_time", &event.cluster_time)
    inner = put_name(at, ARRAY, "changes")
    if operation == UPDATE:
        at = put_update(inner + 4, &update)
    else:
        at = put_each(inner + 4, &event.after if operation == INSERT else &event.before, operation)
    at = close(inner, at)
    if event.session.value != NULL and event.number.value != NULL:
        inner = put_name(at, DOCUMENT, "transaction")
        at = put_value(inner + 4, "session", &event.session)
        at = close(inner, put_value(at, "number", &event.number))
    at = close(start, put_binary(at, "resume_token", token, token_size))
    if at - start > room:
        abort()  # `AROUND_CHANGE` or `AROUND_HISTORY` is too small: what lay behind is overwritten
    return document[:at - start], namespace, _NAMES[operation]


def documents(bytes array not None):
    """The documents of an array, in their order.

    Args:
        array: BSON.

    Returns:
        They, or None: something in it is no document, or malformed.
    """
    cdef Document inner
    cdef Element found
    cdef Read read
    cdef list contents = []
    if PyBytes_GET_SIZE(array) < SMALLEST_DOCUMENT:
        return None
    inner = opened(<Bytes>PyBytes_AS_STRING(array), PyBytes_GET_SIZE(array))
    while (read := following(&inner, &found)) == FOUND:
        if found.kind != DOCUMENT:
            return None
        contents.append(PyBytes_FromStringAndSize(<const char *>found.value, found.size))
    return contents if read == END else None


cdef inline bint is_plain(const Element *element) noexcept nogil:
    """Whether a field's name cannot be taken for a path (`change_history.bson.paths.is_ambiguous`)."""
    return element.key_size > 0 and memchr(element.key, c".", element.key_size) == NULL


cdef Py_ssize_t read_update(Update *update, const Event *event) noexcept nogil:
    """What an update does to fields at the top of a document, `{$v: 2, diff: {…}}`, and their old values.

    Returns bytes of room for the changes; -1: it does other things.
    """
    cdef Document document = inside(&event.delta)
    cdef Element found, diff
    cdef Read read
    cdef Py_ssize_t room
    cdef int place
    if following(&document, &found) != FOUND or not is_named(&found, "$v"):
        return -1
    if found.kind != INT32 or int32_at(found.value) != 2:
        return -1
    if following(&document, &diff) != FOUND or not is_named(&diff, "diff") or document.at != document.end:
        return -1
    room = read_sections(update, &diff)
    if room < 0:
        return -1
    document = inside(&event.before)
    while (read := following(&document, &found)) == FOUND:
        place = place_in(update, &found)
        if place >= 0:
            update.steps[place].old = found  # the last, where the image has a key twice
            room += found.size
    return room if read == END else -1


cdef Py_ssize_t read_sections(Update *update, const Element *diff) noexcept nogil:
    """The fields that are updated, inserted and deleted, in the order of `watcher.events.update.from_raw`."""
    cdef Document sections, section
    cdef Element found
    cdef Step step
    cdef Read read
    cdef Py_ssize_t room = 0
    update.count = 0
    if not is_a(diff, DOCUMENT, SMALLEST_DOCUMENT):
        return -1
    sections = inside(diff)
    while (read := following(&sections, &found)) == FOUND:
        step.at_end, step.removed = is_named(&found, "i"), is_named(&found, "d")
        if not (step.at_end or step.removed or is_named(&found, "u")) or not is_a(&found, DOCUMENT, SMALLEST_DOCUMENT):
            return -1
        section = inside(&found)
        while (read := following(&section, &step.field)) == FOUND:
            if update.count == MOST_STEPS or not is_plain(&step.field) or is_named(&step.field, "_id"):
                return -1
            if place_in(update, &step.field) >= 0:
                return -1
            step.old.value = NULL
            update.steps[update.count] = step
            update.count += 1
            room += AROUND_CHANGE + step.field.key_size + step.field.size
        if read != END:
            return -1
    return room if read == END else -1


cdef inline int place_in(const Update *update, const Element *named) noexcept nogil:
    """Which of the fields has a name; -1: none."""
    cdef int place
    for place in range(update.count):
        if same_name(&update.steps[place].field, named):
            return place
    return -1


cdef uint8_t *put_update(uint8_t *at, Update *update) noexcept nogil:
    cdef Step *step
    cdef int place
    for place in range(update.count):
        step = &update.steps[place]
        at = put_change(at, place, &step.old, NULL if step.removed else &step.field, &step.field, step.at_end)
    return at


cdef Py_ssize_t room_for_each(const Element *whole) noexcept nogil:
    """Bytes of room for the changes of a whole document; -1: it has a field that is not usual."""
    cdef Document document = inside(whole)
    cdef Element found
    cdef Read read
    cdef Py_ssize_t room = 0
    while (read := following(&document, &found)) == FOUND:
        if not is_plain(&found):
            return -1
        room += AROUND_CHANGE + found.key_size + found.size
    return room if read == END else -1


cdef uint8_t *put_each(uint8_t *at, const Element *whole, Operation operation) noexcept nogil:
    """Write the changes of a whole document that appears or goes."""
    cdef Document document = inside(whole)
    cdef Element found
    cdef int index = 0
    while following(&document, &found) == FOUND:
        if operation == DELETE:
            at = put_change(at, index, &found, NULL, &found, False)
        else:
            at = put_change(at, index, NULL, &found, &found, False)
        index += 1
    return at


cdef inline uint8_t *put_change(
    uint8_t *at, int index, const Element *old, const Element *new, const Element *named, bint at_end
) noexcept nogil:
    """Write a change as an element of `changes`."""
    cdef uint8_t *start = put_index(at, index)
    cdef bint existed = old != NULL and old.value != NULL
    at = put_text(start + 4, "field", named.key, named.key_size)
    if existed:
        at = put_value(at, "old_value", old)
    if new != NULL:
        at = put_value(at, "new_value", new)
    if existed and at_end:
        at = put_name(at, BOOLEAN, "at_end")
        at[0] = True
        at += 1
    return close(start, at)
