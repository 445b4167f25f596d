"""BSON written straight into a buffer. Each function returns where the next byte belongs; the caller has made room."""

from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memcpy, strlen

from watcher.events._read cimport BINARY, DOCUMENT, STRING, Element

cdef enum:
    MOST_DIGITS = 10  # of a number that is an int


cdef inline uint8_t *put(uint8_t *at, const void *source, Py_ssize_t size) noexcept nogil:
    memcpy(at, source, size)
    return at + size


cdef inline uint8_t *put_int32(uint8_t *at, Py_ssize_t number) noexcept nogil:
    cdef int32_t written = <int32_t>number
    return put(at, &written, 4)


cdef inline uint8_t *put_name(uint8_t *at, uint8_t kind, const char *name) noexcept nogil:
    """Begin an element."""
    at[0] = kind
    return put(at + 1, name, strlen(name) + 1)


cdef inline uint8_t *put_value(uint8_t *at, const char *name, const Element *element) noexcept nogil:
    """Write the value of an element under another name."""
    return put(put_name(at, element.kind, name), element.value, element.size)


cdef inline uint8_t *put_text(uint8_t *at, const char *name, const void *text, Py_ssize_t size) noexcept nogil:
    at = put_int32(put_name(at, STRING, name), size + 1)
    at = put(at, text, size)
    at[0] = 0
    return at + 1


cdef inline uint8_t *put_binary(uint8_t *at, const char *name, const void *data, Py_ssize_t size) noexcept nogil:
    at = put_int32(put_name(at, BINARY, name), size)
    at[0] = 0  # the generic subtype
    return put(at + 1, data, size)


cdef inline uint8_t *put_index(uint8_t *at, int index) noexcept nogil:
    """Begin a document in an array, whose keys are decimal numbers."""
    cdef uint8_t digits[MOST_DIGITS]
    cdef int first = MOST_DIGITS
    while first == MOST_DIGITS or index:
        first -= 1
        digits[first] = <uint8_t>(c"0" + index % 10)
        index //= 10
    at[0] = DOCUMENT
    at = put(at + 1, &digits[first], MOST_DIGITS - first)
    at[0] = 0
    return at + 1


cdef inline uint8_t *close(uint8_t *start, uint8_t *at) noexcept nogil:
    """End the document that begins at `start`: the NUL behind it, and its length in front."""
    at[0] = 0
    put_int32(start, at + 1 - start)
    return at + 1
