# cython: language_level=3
"""What events changed, in words, compiled: what `value_text` and `cli.rendering.events` write into a file.

From the bytes of a history document, without decoding it. What is odd, or says more than a value and then another, is
declined: they know what is to be said of it. `tests/unit/test_event_text.py` holds both ways together.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset, strlen

from watcher.events._read cimport (
    ARRAY,
    BOOLEAN,
    CODE_WITH_SCOPE,
    DATE,
    DOCUMENT,
    DOUBLE,
    END,
    FOUND,
    INT32,
    INT64,
    MALFORMED,
    NULL_,
    OBJECT_ID,
    SMALLEST_DOCUMENT,
    STRING,
    TIMESTAMP,
    Bytes,
    Document,
    Element,
    Read,
    following,
    inside,
    int32_at,
    is_a,
    is_named,
    is_text,
    opened,
    same_name,
)
from watcher.events._write cimport Buffer, put, put_byte

cdef extern from *:
    """
    #ifndef EVENT_TEXT_SOURCE
    #define EVENT_TEXT_SOURCE ""
    #endif
    """
    const char *EVENT_TEXT_SOURCE

cdef extern from "Python.h":
    char *PyOS_double_to_string(double value, char code, int precision, int flags, int *kind) except NULL
    int Py_DTSF_ADD_DOT_0

MADE_FROM = EVENT_TEXT_SOURCE.decode()

cdef enum:
    DEEPEST = 110  # a server stores documents of 100
    MOST_KEYS = 64
    LONGEST = 64  # characters of a number or a date
    FIELD = -1
    KEY = -2

cdef int64_t MS_OF_DAY = 86_400_000
cdef int64_t FIRST_YEAR = -62_135_596_800_000
cdef int64_t AFTER_9999 = 253_402_300_800_000
cdef const char *HEX = b"0123456789abcdef"


def event_text(bytes stored not None, other, bint with_id):
    """What a history document says, for people; None: that is to be said by those who decode it.

    Args:
        stored: BSON.
        other: writes what is not plain: the name of a field (`FIELD`), a key (`KEY`), or a value, by its type.
        with_id: whether to write the document's `_id`.

    Returns:
        Whether more is to be said of the event than what, when and to which document; the operation, the milliseconds
        since 1970, the namespace, the `_id`, and the lines of its changes; from where to where `changes` lies.
    """
    cdef Bytes data = <Bytes>PyBytes_AS_STRING(stored)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(stored)
    cdef Document document
    cdef Element found, operation, when, namespace, identity, changes
    cdef Read read
    cdef bint more = False
    cdef Buffer out
    cdef int64_t milliseconds
    if size < SMALLEST_DOCUMENT or int32_at(data) != size:
        return None
    operation.value = when.value = namespace.value = identity.value = changes.value = NULL
    document = opened(data, size)
    while (read := following(&document, &found)) == FOUND:
        if is_named(&found, b"operation"):
            operation = found
        elif is_named(&found, b"timestamp"):
            when = found
        elif is_named(&found, b"namespace"):
            namespace = found
        elif is_named(&found, b"document_id"):
            identity = found
        elif is_named(&found, b"changes"):
            changes = found
        elif is_named(&found, b"parts"):
            return None
        elif not (is_named(&found, b"_id") or is_named(&found, b"cluster_time") or is_named(&found, b"resume_token")):
            more = True
    if read == MALFORMED or not is_a(&operation, STRING, 5) or is_text(&operation, b"gap"):
        return None
    if not is_a(&changes, ARRAY, SMALLEST_DOCUMENT) or not is_a(&when, DATE, 8):
        return None
    if not is_a(&namespace, STRING, 5) or identity.value == NULL:
        more = True
    memcpy(&milliseconds, when.value, 8)
    if milliseconds < FIRST_YEAR or milliseconds >= AFTER_9999:
        more = True
    memset(&out, 0, sizeof(Buffer))
    try:
        told = None
        if with_id and not more:
            if not write_value(&out, &identity, 0, other):
                return None
            told = as_text(&out)
        out.used = 0
        if not write_changes(&out, &changes, mark_of(&operation), other):
            return None
        lines = as_text(&out)
    except Exception:  # what is wrong with it is said by the readable way
        return None
    finally:
        free(out.start)
    return (
        more,
        inner(&operation),
        milliseconds,
        inner(&namespace) if not more else b"",
        told,
        lines,
        changes.key - 1 - data,
        changes.value + changes.size - data,
    )


cdef object inner(const Element *text):
    return PyBytes_FromStringAndSize(<const char *>text.value + 4, text.size - 5)


cdef object as_text(Buffer *out):
    if out.failed:
        raise MemoryError
    return PyUnicode_DecodeUTF8(<const char *>out.start, out.used, NULL) if out.used else ""


cdef char mark_of(const Element *operation) noexcept:
    """The sign before what is all new, or all gone; 0: none."""
    if is_text(operation, b"insert") or is_text(operation, b"baseline"):
        return c"+"
    return c"-" if is_text(operation, b"delete") else 0


cdef bint write_changes(Buffer *out, const Element *changes, char mark, object other) except -1:
    """Write a line for each change. False: one of them is to be written by others."""
    cdef Document document = inside(changes)
    cdef Element change
    cdef Read read
    while (read := following(&document, &change)) == FOUND:
        if not is_a(&change, DOCUMENT, SMALLEST_DOCUMENT) or not write_change(out, &change, mark, other):
            return False
    return read == END


cdef bint write_change(Buffer *out, const Element *change, char mark, object other) except -1:
    cdef Document document = inside(change)
    cdef Element found, field, old, new
    cdef bint unknown = False
    cdef Read read
    field.value = old.value = new.value = NULL
    while (read := following(&document, &found)) == FOUND:
        if is_named(&found, b"field"):
            field = found
        elif is_named(&found, b"old_value"):
            old = found
        elif is_named(&found, b"new_value"):
            new = found
        elif is_named(&found, b"old_value_from"):
            unknown = is_text(&found, b"unknown")
        else:
            return False
    if read == MALFORMED or not is_a(&field, STRING, 5) or field.value[field.size - 1]:
        return False
    if old.value == NULL and new.value == NULL:
        return False
    put(out, b"    ", 4)
    if mark:
        if (old.value != NULL and new.value != NULL) or (old.value == NULL and unknown):
            return False
        put_byte(out, mark)
        put_byte(out, c" ")
    write_name(out, field.value + 4, field.size - 5, FIELD, other)
    put(out, b": ", 2)
    if mark:
        if not write_value(out, &new if old.value == NULL else &old, 0, other):
            return False
    else:
        if is_both(&old, &new, ARRAY) or is_alike(&old, &new):
            return False  # their elements are compared, or it was moved
        if old.value == NULL:
            put_words(out, b"(unknown)" if unknown else b"(absent)")
        elif not write_value(out, &old, 0, other):
            return False
        put_words(out, b" \xe2\x86\x92 ")
        if new.value == NULL:
            put_words(out, b"(absent)")
        elif not write_value(out, &new, 0, other):
            return False
    put_byte(out, c"\n")
    return True


cdef bint is_both(const Element *old, const Element *new, uint8_t kind) noexcept:
    return old.value != NULL and new.value != NULL and old.kind == kind == new.kind


cdef bint is_alike(const Element *old, const Element *new) noexcept:
    """Whether two values may be the same: whether their bytes are, as values with a key twice are declined."""
    return (
        old.value != NULL
        and new.value != NULL
        and old.kind == new.kind
        and old.size == new.size
        and memcmp(old.value, new.value, old.size) == 0
    )


cdef inline void put_words(Buffer *out, const char *words) noexcept:
    put(out, words, strlen(words))


cdef bint put_other(Buffer *out, int kind, Bytes data, Py_ssize_t size, object other) except -1:
    written = (<str>other(kind, PyBytes_FromStringAndSize(<const char *>data, size))).encode()
    put(out, PyBytes_AS_STRING(written), PyBytes_GET_SIZE(written))
    return True


cdef bint is_printable(Bytes text, Py_ssize_t size) noexcept:
    """Whether a text is ASCII that may stand as it is."""
    cdef Py_ssize_t at
    for at in range(size):
        if text[at] < 0x20 or text[at] > 0x7E:
            return False
    return True


cdef bint is_word(Bytes text, Py_ssize_t size) noexcept:
    """Whether a key needs no quotes."""
    cdef Py_ssize_t at
    cdef uint8_t c
    for at in range(size):
        c = text[at]
        if not (c"a" <= c <= c"z" or c"A" <= c <= c"Z" or c == c"_" or c == c"$" or (at and c"0" <= c <= c"9")):
            return False
    return size > 0


cdef bint write_name(Buffer *out, Bytes text, Py_ssize_t size, int kind, object other) except -1:
    """Write the name of a field, or a key."""
    if size and (is_printable(text, size) if kind == FIELD else is_word(text, size)):
        put(out, text, size)
        return True
    return put_other(out, kind, text, size, other)


cdef bint write_value(Buffer *out, const Element *value, int depth, object other) except -1:
    """Write a value as `value_text.text_of` does. False: it is malformed, or odd."""
    cdef uint8_t kind = value.kind
    cdef Py_ssize_t at
    cdef char line[LONGEST]
    cdef int64_t large
    cdef uint32_t seconds, increment
    if kind == STRING:
        if value.size < 5 or value.value[value.size - 1]:
            return False
        return write_string(out, value, other)
    if kind == DOCUMENT or kind == ARRAY:
        if depth >= DEEPEST or value.size < SMALLEST_DOCUMENT or value.value[value.size - 1]:
            return False
        return write_container(out, value, depth, other)
    if kind == INT32:
        put(out, line, snprintf(line, LONGEST, b"%d", int32_at(value.value)))
    elif kind == INT64:
        memcpy(&large, value.value, 8)
        put(out, line, snprintf(line, LONGEST, b'Long("%lld")', <long long>large))
    elif kind == DOUBLE:
        return write_double(out, value.value)
    elif kind == BOOLEAN:
        if value.value[0] > 1:
            return False
        put_words(out, b"true" if value.value[0] else b"false")
    elif kind == NULL_:
        put_words(out, b"null")
    elif kind == DATE:
        memcpy(&large, value.value, 8)
        if large < FIRST_YEAR or large >= AFTER_9999:
            put(out, line, snprintf(line, LONGEST, b"Date(%lld ms)", <long long>large))
        else:
            put(out, line, write_date(line, large))
    elif kind == TIMESTAMP:
        memcpy(&increment, value.value, 4)
        memcpy(&seconds, value.value + 4, 4)
        put(out, line, snprintf(line, LONGEST, b"Timestamp(%u, %u)", <unsigned>seconds, <unsigned>increment))
    elif kind == OBJECT_ID:
        put_words(out, b'ObjectId("')
        for at in range(12):
            put_byte(out, HEX[value.value[at] >> 4])
            put_byte(out, HEX[value.value[at] & 15])
        put_words(out, b'")')
    elif kind == CODE_WITH_SCOPE:
        return False
    else:
        return put_other(out, kind, value.value, value.size, other)
    return True


cdef bint write_string(Buffer *out, const Element *value, object other) except -1:
    cdef Bytes text = value.value + 4
    cdef Py_ssize_t at, size = value.size - 5
    for at in range(size):
        if text[at] < 0x20 or text[at] > 0x7E or text[at] == c'"' or text[at] == c"\\":
            return put_other(out, STRING, value.value, value.size, other)
    put_byte(out, c'"')
    put(out, text, size)
    put_byte(out, c'"')
    return True


cdef bint write_double(Buffer *out, Bytes value) except -1:
    cdef double number
    cdef char *digits
    memcpy(&number, value, 8)
    if number != number:
        put_words(out, b"NaN")
    elif number - number != 0:
        put_words(out, b"Infinity" if number > 0 else b"-Infinity")
    else:
        digits = PyOS_double_to_string(number, c"r", 0, Py_DTSF_ADD_DOT_0, NULL)
        put_words(out, digits)
        PyMem_Free(digits)
    return True


cdef bint write_container(Buffer *out, const Element *value, int depth, object other) except -1:
    cdef Document document = inside(value)
    cdef bint named = value.kind == DOCUMENT
    cdef Element keys[MOST_KEYS]
    cdef Element found
    cdef Py_ssize_t count = 0, before
    cdef Read read
    put_byte(out, c"{" if named else c"[")
    while (read := following(&document, &found)) == FOUND:
        if count:
            put(out, b", ", 2)
        if named:
            if count == MOST_KEYS:
                return False
            for before in range(count):
                if same_name(&keys[before], &found):
                    return False  # a key that a document has twice
            keys[count] = found
            write_name(out, found.key, found.key_size, KEY, other)
            put(out, b": ", 2)
        count += 1
        if not write_value(out, &found, depth + 1, other):
            return False
    put_byte(out, c"}" if named else c"]")
    return read == END


cdef int write_date(char *line, int64_t milliseconds) noexcept:
    """Write a time since 1970 in ISO 8601, and tell its length."""
    # https://howardhinnant.github.io/date_algorithms.html#civil_from_days
    cdef int64_t of_day = milliseconds % MS_OF_DAY, days = milliseconds // MS_OF_DAY + 719468
    cdef int64_t era = days // 146097, day_of_era = days % 146097
    cdef int64_t year = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    cdef int64_t day = day_of_era - (365 * year + year // 4 - year // 100)
    cdef int64_t month = (5 * day + 2) // 153
    day = day - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    year = year + era * 400 + (1 if month <= 2 else 0)
    return snprintf(
        line,
        LONGEST,
        b"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
        <int>year, <int>month, <int>day,
        <int>(of_day // 3600000), <int>(of_day // 60000 % 60), <int>(of_day // 1000 % 60), <int>(of_day % 1000),
    )
