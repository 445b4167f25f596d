"""BSON written into a buffer that grows. Every write makes sure of its room first."""

from libc.stdint cimport int32_t, uint8_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, strlen

from watcher.events._read cimport BINARY, DOCUMENT, STRING, Bytes, Element

cdef enum:
    MOST_DIGITS = 10  # of a number that is an int
    LARGEST_BUFFER = 512 * 1024 * 1024  # far more than the history of one event; lengths stay below 2**31

cdef struct Buffer:
    uint8_t *start
    Py_ssize_t used
    Py_ssize_t room
    bint failed  # there was no memory; what is in it is not whole


cdef inline bint has_room(Buffer *buffer, Py_ssize_t size) noexcept nogil:
    """Make room for so many bytes more."""
    cdef Py_ssize_t room
    cdef uint8_t *moved
    if size <= buffer.room - buffer.used:
        return True
    if buffer.failed or size > LARGEST_BUFFER - buffer.used:
        buffer.failed = True
        return False
    room = 2 * buffer.room if 2 * buffer.room > buffer.used + size else buffer.used + size + 4096
    moved = <uint8_t *>realloc(buffer.start, room)
    if moved == NULL:
        buffer.failed = True
        return False
    buffer.start, buffer.room = moved, room
    return True


cdef inline void put(Buffer *buffer, const void *source, Py_ssize_t size) noexcept nogil:
    if has_room(buffer, size):
        memcpy(buffer.start + buffer.used, source, size)
        buffer.used += size


cdef inline void put_byte(Buffer *buffer, uint8_t byte) noexcept nogil:
    if has_room(buffer, 1):
        buffer.start[buffer.used] = byte
        buffer.used += 1


cdef inline void put_int32(Buffer *buffer, Py_ssize_t number) noexcept nogil:
    cdef int32_t written = <int32_t>number
    put(buffer, &written, 4)


cdef inline void put_name(Buffer *buffer, uint8_t kind, const char *name) noexcept nogil:
    """Begin an element."""
    put_byte(buffer, kind)
    put(buffer, name, strlen(name) + 1)


cdef inline void put_key(Buffer *buffer, uint8_t kind, Bytes key, Py_ssize_t size) noexcept nogil:
    """Begin an element whose name is bytes."""
    put_byte(buffer, kind)
    put(buffer, key, size)
    put_byte(buffer, 0)


cdef inline void put_value(Buffer *buffer, const char *name, const Element *element) noexcept nogil:
    """Write the value of an element under another name."""
    put_name(buffer, element.kind, name)
    put(buffer, element.value, element.size)


cdef inline void put_field(Buffer *buffer, Bytes key, Py_ssize_t key_size, const Element *element) noexcept nogil:
    """Write the value of an element under a name that is bytes."""
    put_key(buffer, element.kind, key, key_size)
    put(buffer, element.value, element.size)


cdef inline void put_text(Buffer *buffer, const char *name, const void *text, Py_ssize_t size) noexcept nogil:
    put_name(buffer, STRING, name)
    put_int32(buffer, size + 1)
    put(buffer, text, size)
    put_byte(buffer, 0)


cdef inline void put_binary(Buffer *buffer, const char *name, const void *data, Py_ssize_t size) noexcept nogil:
    put_name(buffer, BINARY, name)
    put_int32(buffer, size)
    put_byte(buffer, 0)  # the generic subtype
    put(buffer, data, size)


cdef inline void put_decimal(Buffer *buffer, int number) noexcept nogil:
    cdef uint8_t digits[MOST_DIGITS]
    cdef int first = MOST_DIGITS
    while first == MOST_DIGITS or number:
        first -= 1
        digits[first] = <uint8_t>(c"0" + number % 10)
        number //= 10
    put(buffer, &digits[first], MOST_DIGITS - first)


cdef inline void put_index(Buffer *buffer, uint8_t kind, int index) noexcept nogil:
    """Begin an element of an array, whose keys are decimal numbers."""
    put_byte(buffer, kind)
    put_decimal(buffer, index)
    put_byte(buffer, 0)


cdef inline Py_ssize_t opening(Buffer *buffer) noexcept nogil:
    """Begin a document or an array; where it begins."""
    put_int32(buffer, 0)
    return buffer.used - 4


cdef inline void close(Buffer *buffer, Py_ssize_t start) noexcept nogil:
    """End the document that begins there: the NUL behind it, and its length in front."""
    cdef int32_t size
    put_byte(buffer, 0)
    if not buffer.failed:
        size = <int32_t>(buffer.used - start)
        memcpy(buffer.start + start, &size, 4)


cdef inline void put_string_at(Buffer *buffer, int index, Bytes text, Py_ssize_t size) noexcept nogil:
    """Write a string as an element of an array."""
    put_index(buffer, STRING, index)
    put_int32(buffer, size + 1)
    put(buffer, text, size)
    put_byte(buffer, 0)


cdef inline Py_ssize_t opening_at(Buffer *buffer, int index) noexcept nogil:
    """Begin a document as an element of an array; where it begins."""
    put_index(buffer, DOCUMENT, index)
    return opening(buffer)
