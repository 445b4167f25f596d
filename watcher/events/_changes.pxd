"""A change written as history keeps it: the compiled counterpart of `change_history.stored.changes.encode`."""

from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memchr, memcpy

from watcher.events._read cimport ARRAY, BOOLEAN, FOUND, INT32, STRING, Bytes, Document, Element, following, inside
from watcher.events._write cimport (
    Buffer, close, opening, opening_at, put, put_byte, put_decimal, put_index, put_int32, put_name, put_string_at,
    put_text, put_value,
)

cdef enum:
    DEEPEST = 128  # parts of a path; what is deeper is left to the readable way

cdef enum Origin:  # of an old value
    PRE_IMAGE
    HISTORY
    UNKNOWN

cdef struct Part:
    Bytes key
    Py_ssize_t key_size
    int index  # in an array; -1: it is a key

cdef struct Path:
    Part parts[DEEPEST]
    int depth

cdef struct Writing:
    Buffer *buffer
    Path path
    int count  # of changes so far
    Origin origin


cdef inline bint deeper(Path *path, Bytes key, Py_ssize_t key_size, int index) noexcept nogil:
    """Go one part further; False: the path is too long."""
    if path.depth == DEEPEST:
        return False
    path.parts[path.depth] = Part(key, key_size, index)
    path.depth += 1
    return True


cdef inline bint is_number(const Part *part) noexcept nogil:
    """Whether a key reads as an index: decimal, no leading zero."""
    cdef Py_ssize_t place
    if part.key_size == 0 or (part.key_size > 1 and part.key[0] == c"0"):
        return False
    for place in range(part.key_size):
        if not c"0" <= part.key[place] <= c"9":
            return False
    return True


cdef inline bint is_ambiguous(const Path *path) noexcept nogil:
    """Whether the dotted form of a path would be read as another one."""
    cdef int place
    cdef const Part *part
    for place in range(path.depth):
        part = &path.parts[place]
        if part.index >= 0:
            if place == 0:
                return True
        elif part.key_size == 0 or memchr(part.key, c".", part.key_size) != NULL or (place and is_number(part)):
            return True
    return path.depth == 0


cdef inline void put_path(Buffer *buffer, const Path *path) noexcept nogil:
    """Write `field`, and `path` where that is ambiguous."""
    cdef Py_ssize_t start, inner
    cdef int32_t size
    cdef int place
    cdef const Part *part
    put_name(buffer, STRING, "field")
    start = buffer.used
    put_int32(buffer, 0)
    for place in range(path.depth):
        part = &path.parts[place]
        if place:
            put_byte(buffer, c".")
        if part.index >= 0:
            put_decimal(buffer, part.index)
        else:
            put(buffer, part.key, part.key_size)
    put_byte(buffer, 0)
    if buffer.failed:
        return
    size = <int32_t>(buffer.used - start - 4)
    memcpy(buffer.start + start, &size, 4)
    if is_ambiguous(path):
        put_name(buffer, ARRAY, "path")
        inner = opening(buffer)
        for place in range(path.depth):
            part = &path.parts[place]
            if part.index >= 0:
                put_index(buffer, INT32, place)
                put_int32(buffer, part.index)
            else:
                put_string_at(buffer, place, part.key, part.key_size)
        close(buffer, inner)


cdef inline void put_first(Buffer *buffer, const Element *array, int count) noexcept nogil:
    """Write the first elements of an array."""
    cdef Document contents = inside(array)
    cdef Element found
    cdef Py_ssize_t start = opening(buffer)
    cdef int index
    for index in range(count):
        if following(&contents, &found) != FOUND:
            break
        put_index(buffer, found.kind, index)
        put(buffer, found.value, found.size)
    close(buffer, start)


cdef inline void put_change(
    Writing *writing, const Element *old, const Element *new, int truncated_to, bint at_end
) noexcept nogil:
    """Write a change of the path as the next element of `changes`.

    Args:
        writing: where.
        old: NULL, or one without a value: there is none, or it is unknown.
        new: the same.
        truncated_to: new length of the array at the path; -1: something else happened.
        at_end: the field was put after all others.
    """
    cdef Buffer *buffer = writing.buffer
    cdef bint existed = old != NULL and old.value != NULL
    cdef Py_ssize_t start = opening_at(buffer, writing.count)
    writing.count += 1
    put_path(buffer, &writing.path)
    if existed:
        put_value(buffer, "old_value", old)
    if truncated_to >= 0 and existed:
        put_name(buffer, ARRAY, "new_value")
        put_first(buffer, old, truncated_to)
    elif new != NULL and new.value != NULL:
        put_value(buffer, "new_value", new)
    if writing.origin == HISTORY:
        put_text(buffer, "old_value_from", b"history", 7)
    elif writing.origin == UNKNOWN:
        put_text(buffer, "old_value_from", b"unknown", 7)
    if truncated_to >= 0:
        put_name(buffer, INT32, "truncated_to")
        put_int32(buffer, truncated_to)
    if at_end and (existed or writing.origin == UNKNOWN):
        put_name(buffer, BOOLEAN, "at_end")
        put_byte(buffer, True)
    close(buffer, start)
