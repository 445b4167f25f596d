"""BSON read where it lies: the compiled counterpart of `change_history.bson.raw`. https://bsonspec.org/spec.html, version 1.1."""

from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memchr, memcmp, memcpy, memset, strlen

cdef enum Type:
    DOUBLE = 0x01
    STRING = 0x02
    DOCUMENT = 0x03
    ARRAY = 0x04
    BINARY = 0x05
    UNDEFINED = 0x06
    OBJECT_ID = 0x07
    BOOLEAN = 0x08
    DATE = 0x09
    NULL_ = 0x0A
    REGEX = 0x0B
    DB_POINTER = 0x0C
    CODE = 0x0D
    SYMBOL = 0x0E
    CODE_WITH_SCOPE = 0x0F
    INT32 = 0x10
    TIMESTAMP = 0x11
    INT64 = 0x12
    DECIMAL128 = 0x13
    MIN_KEY = 0xFF
    MAX_KEY = 0x7F

cdef enum Read:
    FOUND
    END
    MALFORMED

cdef enum:
    SMALLEST_DOCUMENT = 5  # bytes

ctypedef const uint8_t *Bytes

cdef struct Element:
    Bytes key
    Py_ssize_t key_size
    uint8_t kind
    Bytes value  # NULL: there is none
    Py_ssize_t size

cdef struct Document:
    Bytes at
    Bytes end  # where the closing NUL is


cdef inline Document opened(Bytes data, Py_ssize_t size) noexcept nogil:
    """The inside of a document of at least `SMALLEST_DOCUMENT` bytes."""
    return Document(data + 4, data + size - 1)


cdef inline Document inside(const Element *element) noexcept nogil:
    """The inside of a sub-document, of which `is_a` has said that it is one."""
    return opened(element.value, element.size)


cdef inline int32_t int32_at(Bytes at) noexcept nogil:
    cdef int32_t number
    memcpy(&number, at, 4)
    return number


cdef inline Py_ssize_t size_of(uint8_t kind, Bytes at, Bytes end) noexcept nogil:
    """Bytes of a value, which the caller holds against the end of its document; below zero: impossible."""
    cdef Bytes second
    if kind in (DOUBLE, DATE, TIMESTAMP, INT64):
        return 8
    if kind in (UNDEFINED, NULL_, MIN_KEY, MAX_KEY):
        return 0
    if kind == INT32:
        return 4
    if kind == BOOLEAN:
        return 1
    if kind == OBJECT_ID:
        return 12
    if kind == DECIMAL128:
        return 16
    if kind == REGEX:  # two texts, each up to its NUL
        second = <Bytes>memchr(at, 0, end - at)
        second = <Bytes>memchr(second + 1, 0, end - second - 1) if second != NULL else NULL
        return second + 1 - at if second != NULL else -1
    if end - at < 4:
        return -1
    if kind in (DOCUMENT, ARRAY, CODE_WITH_SCOPE):
        return int32_at(at)
    if kind in (STRING, CODE, SYMBOL):
        return <Py_ssize_t>int32_at(at) + 4
    if kind == BINARY:
        return <Py_ssize_t>int32_at(at) + 5
    if kind == DB_POINTER:
        return <Py_ssize_t>int32_at(at) + 16
    return -1


cdef inline Read following(Document *document, Element *found) noexcept nogil:
    """Read the next element."""
    cdef Bytes name_end
    if document.at >= document.end:
        return END
    found.kind = document.at[0]
    found.key = document.at + 1
    name_end = <Bytes>memchr(found.key, 0, document.end - found.key)
    if name_end == NULL:
        return MALFORMED
    found.key_size = name_end - found.key
    found.value = name_end + 1
    found.size = size_of(found.kind, found.value, document.end)
    if found.size < 0 or found.size > document.end - found.value:
        return MALFORMED
    document.at = found.value + found.size
    return FOUND


cdef inline bint is_named(const Element *element, const char *name) noexcept nogil:
    return element.key_size == <Py_ssize_t>strlen(name) and memcmp(element.key, name, strlen(name)) == 0


cdef inline bint same_name(const Element *one, const Element *other) noexcept nogil:
    return one.key_size == other.key_size and memcmp(one.key, other.key, one.key_size) == 0


cdef inline bint is_a(const Element *element, uint8_t kind, Py_ssize_t least) noexcept nogil:
    """Whether there is such an element, of a type, with a value of at least so many bytes."""
    return element.value != NULL and element.kind == kind and element.size >= least


cdef inline bint is_text(const Element *element, const char *text) noexcept nogil:
    """Whether an element is a string, well ended, with this text."""
    cdef Py_ssize_t size = <Py_ssize_t>strlen(text) + 1
    return is_a(element, STRING, 5) and element.size == size + 4 and memcmp(element.value + 4, text, size) == 0


cdef inline bint find(Document document, const char *name, Element *wanted) noexcept nogil:
    """Find a field of a document; the last, where several have that name."""
    cdef Element found
    cdef Read read
    memset(wanted, 0, sizeof(Element))
    while (read := following(&document, &found)) == FOUND:
        if is_named(&found, name):
            wanted[0] = found
    return read == END and wanted.value != NULL


cdef inline bint holds_only(Document document, const char *name, Element *only) noexcept nogil:
    """Whether a document has one field, and that has this name."""
    return following(&document, only) == FOUND and is_named(only, name) and document.at == document.end
