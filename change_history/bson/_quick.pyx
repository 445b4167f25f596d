# cython: language_level=3
"""BSON taken apart, compiled: what `change_history.bson.raw` and `change_history.stored.changes` do, in a tenth of the time.

Every read is held against its bounds. What is malformed, or odd, is declined: they know what it is, or what is wrong.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy

cdef extern from *:
    """
    #ifndef QUICK_SOURCE
    #define QUICK_SOURCE ""
    #endif
    """
    const char *QUICK_SOURCE

MADE_FROM = QUICK_SOURCE.decode()

ctypedef const uint8_t *Bytes

cdef enum:
    SMALLEST_DOCUMENT = 5
    STRING = 0x02
    DOCUMENT = 0x03

cdef struct Element:
    uint8_t kind
    Py_ssize_t key, key_end, value, value_end  # the key ends with its NUL


cdef inline Py_ssize_t length_at(Bytes data, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """The length that is written there; -1: there is none."""
    cdef int32_t length
    if at + 4 > end:
        return -1
    memcpy(&length, data + at, 4)
    return length


cdef inline Py_ssize_t after_nul(Bytes data, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Where a text ends, behind its NUL; -1: it has none."""
    cdef const void *found
    if at >= end:
        return -1
    found = memchr(data + at, 0, end - at)
    return -1 if found == NULL else <Bytes>found - data + 1


cdef inline Py_ssize_t end_of_value(Bytes data, uint8_t kind, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Where a value ends that begins there; -1: it is malformed, or runs past the end."""
    cdef Py_ssize_t length, beside = 0
    if kind in (0x01, 0x09, 0x11, 0x12):  # double, date, timestamp, int64
        length = 8
    elif kind == 0x10:  # int32
        length = 4
    elif kind in (0x06, 0x0A, 0xFF, 0x7F):  # undefined, null, the least and the greatest key
        length = 0
    elif kind == 0x08:  # boolean
        length = 1
    elif kind == 0x07:  # ObjectId
        length = 12
    elif kind == 0x13:  # Decimal128
        length = 16
    elif kind in (0x02, 0x0D, 0x0E):  # text
        length, beside = length_at(data, at, end), 4
    elif kind in (0x03, 0x04, 0x0F):  # what says its whole length
        length = length_at(data, at, end)
    elif kind == 0x05:  # binary
        length, beside = length_at(data, at, end), 5
    else:
        return -1  # regular expressions and DBPointers are rare
    if length < 0 or length + beside > end - at:
        return -1
    return at + length + beside


cdef inline bint next_element(Bytes data, Py_ssize_t at, Py_ssize_t end, Element *found) noexcept nogil:
    """Read the element that begins there. False: it is malformed."""
    found.kind = data[at]
    found.key = at + 1
    found.key_end = found.value = after_nul(data, at + 1, end)
    if found.value < 0:
        return False
    found.value_end = end_of_value(data, found.kind, found.value, end)
    return found.value_end >= 0


cdef inline object piece(Bytes data, Py_ssize_t start, Py_ssize_t end):
    return PyBytes_FromStringAndSize(<const char *>data + start, end - start)


def elements(bytes document not None):
    """`raw.elements`, or None."""
    cdef Bytes data = <Bytes>PyBytes_AS_STRING(document)
    cdef Py_ssize_t at = 4, end = PyBytes_GET_SIZE(document) - 1
    cdef Element found
    cdef list contents = []
    while at < end:
        if not next_element(data, at, end, &found):
            return None
        contents.append(
            (piece(data, found.key, found.key_end - 1), found.kind, piece(data, found.value, found.value_end))
        )
        at = found.value_end
    return contents


def fields(bytes document not None):
    """`raw.fields`, or None."""
    cdef Bytes data = <Bytes>PyBytes_AS_STRING(document)
    cdef Py_ssize_t at = 4, end = PyBytes_GET_SIZE(document) - 1
    cdef Element found
    cdef dict contents = {}
    while at < end:
        if not next_element(data, at, end, &found):
            return None
        contents[piece(data, found.key, found.key_end - 1)] = found.kind, piece(data, found.value, found.value_end)
        at = found.value_end
    return contents


def whole_document(bytes changes not None):
    """`changes.whole_document`, or None."""
    cdef Bytes data = <Bytes>PyBytes_AS_STRING(changes)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(changes), at = 4, end = size - 1, used = 4
    cdef Element change, name, value
    cdef int32_t length
    cdef uint8_t *written
    if size < SMALLEST_DOCUMENT:
        return None
    written = <uint8_t *>malloc(size)  # a change takes more than the field that it tells
    if written == NULL:
        raise MemoryError
    try:
        while at < end:
            if not next_element(data, at, end, &change) or change.kind != DOCUMENT:
                return None
            at = change.value_end
            if at - change.value < SMALLEST_DOCUMENT or data[at - 1] != 0:
                return None
            if not tells_a_field(data, change.value + 4, at - 1, &name, &value):
                return None
            written[used] = value.kind
            memcpy(written + used + 1, data + name.value + 4, name.value_end - name.value - 4)
            used += 1 + name.value_end - name.value - 4
            memcpy(written + used, data + value.value, value.value_end - value.value)
            used += value.value_end - value.value
        written[used] = 0
        length = <int32_t>(used + 1)
        memcpy(written, &length, 4)
        return PyBytes_FromStringAndSize(<const char *>written, used + 1)
    finally:
        free(written)


cdef inline bint tells_a_field(
    Bytes data, Py_ssize_t at, Py_ssize_t end, Element *name, Element *value
) noexcept nogil:
    """Whether a change says that a field of the document has a new value, and nothing else."""
    cdef Py_ssize_t size
    if at >= end or not next_element(data, at, end, name) or name.kind != STRING:
        return False
    if name.key_end - name.key != 6 or memcmp(data + name.key, "field", 6) != 0:
        return False
    size = name.value_end - name.value - 5
    if size < 1 or memchr(data + name.value + 4, c".", size) != NULL:
        return False
    if after_nul(data, name.value + 4, name.value_end) != name.value_end:
        return False
    if name.value_end >= end or not next_element(data, name.value_end, end, value):
        return False
    return (
        value.key_end - value.key == 10
        and memcmp(data + value.key, "new_value", 10) == 0
        and value.value_end == end
    )
