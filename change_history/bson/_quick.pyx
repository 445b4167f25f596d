# cython: language_level=3
"""BSON taken apart and written as JSON, compiled: what `bson.raw`, `bson.extended_json` and `stored.changes` do, in a tenth of the time.

Every read is held against its bounds. What is malformed, or odd, is declined: they know what it is, or what is wrong.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, strlen

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
    ARRAY = 0x04

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


def first_concerned(bytes entries not None, Py_ssize_t at, dict above not None, dict leaves not None, dict filled not None):
    """`blame.sought.first_concerned`."""
    cdef Bytes data = <Bytes>PyBytes_AS_STRING(entries)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(entries), length
    while at < size:
        length = length_at(data, at, size)
        if length < SMALLEST_DOCUMENT or length > size - at or data[at + length - 1] != 0:
            return at
        if not concerns_none(data, at + 4, at + length - 1, above, leaves, filled):
            return at
        at += length
    return size


def concerns_any(bytes paths not None, dict above not None, dict leaves not None, dict filled not None):
    """`blame.sought.concerns_any`."""
    cdef Bytes data = <Bytes>PyBytes_AS_STRING(paths)
    cdef Py_ssize_t at = 0, size = PyBytes_GET_SIZE(paths), end
    while True:
        end = after_nul(data, at, size)
        if concerns(data, at, size if end < 0 else end - 1, above, leaves, filled):
            return True
        if end < 0:
            return False
        at = end


cdef bint concerns_none(Bytes data, Py_ssize_t at, Py_ssize_t end, dict above, dict leaves, dict filled) except -1:
    """Whether an entry, whose elements lie between two places, updates the document and concerns no leaf for sure."""
    cdef Element found, change, field
    cdef bint is_partial = False
    cdef Py_ssize_t changes = 0, changes_end = 0
    while at < end:
        if not next_element(data, at, end, &found):
            return False
        if is_named(data, &found, b"operation", 10):
            is_partial = is_text(data, &found) and (
                is_word(data, &found, b"update", 7)
                or is_word(data, &found, b"replace", 8)
                or is_word(data, &found, b"reconcile", 10)
            )
        elif is_named(data, &found, b"changes", 8):
            if found.kind != ARRAY or found.value_end - found.value < SMALLEST_DOCUMENT:
                return False
            changes, changes_end = found.value + 4, found.value_end - 1
        elif is_named(data, &found, b"parts", 6):
            return False
        at = found.value_end
    if not is_partial or not changes:
        return False
    while changes < changes_end:
        if not next_element(data, changes, changes_end, &change) or change.kind != DOCUMENT:
            return False
        changes = change.value_end
        if change.value_end - change.value <= SMALLEST_DOCUMENT:
            return False
        if not next_element(data, change.value + 4, change.value_end - 1, &field):
            return False
        if not is_named(data, &field, b"field", 6) or not is_text(data, &field):
            return False
        if concerns(data, field.value + 4, field.value_end - 1, above, leaves, filled):
            return False
    return True


cdef inline bint is_named(Bytes data, Element *found, const char *name, Py_ssize_t size) noexcept nogil:
    """Whether an element has this key; the size is that with the NUL."""
    return found.key_end - found.key == size and memcmp(data + found.key, name, size) == 0


cdef inline bint is_text(Bytes data, Element *found) noexcept nogil:
    """Whether a value is a text with its NUL."""
    return found.kind == STRING and found.value_end - found.value > 4 and data[found.value_end - 1] == 0


cdef inline bint is_word(Bytes data, Element *found, const char *word, Py_ssize_t size) noexcept nogil:
    """Whether a text is this one; the size is that with the NUL."""
    return found.value_end - found.value == size + 4 and memcmp(data + found.value + 4, word, size) == 0


cdef inline bint concerns(
    Bytes data, Py_ssize_t start, Py_ssize_t end, dict above, dict leaves, dict filled
) except -1:
    """Whether a change of a path may concern a leaf."""
    cdef Py_ssize_t at, dot = -1
    if piece(data, start, end) in above:
        return True
    for at in range(start, end):
        if data[at] == c".":
            dot = at
            if piece(data, start, at) in leaves:
                return True
    if filled and dot >= 0 and dot + 1 < end:
        for at in range(dot + 1, end):
            if not c"0" <= data[at] <= c"9":
                return False
        return piece(data, start, dot) in filled
    return False


# Extended JSON, canonical or relaxed, as `change_history.bson.extended_json` writes it.

cdef enum:
    DEEPEST = 200
    ROOM = 512
    LONGEST_NUMBER = 128
    OLD_BINARY = 0x02  # has its length twice

cdef int64_t MS_OF_DAY = 86_400_000
cdef int64_t AFTER_9999 = 253_402_300_800_000

cdef extern from "Python.h":
    char *PyOS_double_to_string(double value, char code, int precision, int flags, int *kind) except NULL
    int Py_DTSF_ADD_DOT_0

cdef struct Text:
    char *start
    Py_ssize_t size, room
    bint relaxed  # numbers and dates as anybody writes them


cdef int make_room(Text *text, Py_ssize_t more) except -1:
    cdef char *larger
    if text.size + more > text.room:
        text.room = 2 * (text.size + more)
        larger = <char *>realloc(text.start, text.room)
        if larger == NULL:
            raise MemoryError
        text.start = larger
    return 0


cdef inline int write(Text *text, const char *data, Py_ssize_t size) except -1:
    make_room(text, size)
    memcpy(text.start + text.size, data, size)
    text.size += size
    return 0


cdef inline int write_string(Text *text, Bytes data, Py_ssize_t start, Py_ssize_t end, object other) except -1:
    """Write a text in its quotes; `other` does what is not plain ASCII."""
    cdef Py_ssize_t at
    cdef uint8_t byte
    for at in range(start, end):
        byte = data[at]
        if byte < 0x20 or byte > 0x7E or byte == c'"' or byte == c"\\":
            written = (<str>other(piece(data, start, end))).encode()
            return write(text, PyBytes_AS_STRING(written), PyBytes_GET_SIZE(written))
    make_room(text, end - start + 2)
    text.start[text.size] = c'"'
    memcpy(text.start + text.size + 1, data + start, end - start)
    text.size += end - start + 2
    text.start[text.size - 1] = c'"'
    return 0


cdef int write_document(
    Text *text, Bytes data, Py_ssize_t at, Py_ssize_t end, bint named, int depth, object string, object other
) except -1:
    """Write the elements between two places as a document or an array. 0: they are malformed, or too deep."""
    cdef Element found
    cdef bint first = True
    if depth > DEEPEST:
        return 0
    write(text, b"{" if named else b"[", 1)
    while at < end:
        if not next_element(data, at, end, &found):
            return 0
        if not first:
            write(text, b", ", 2)
        first = False
        if named:
            write_string(text, data, found.key, found.key_end - 1, string)
            write(text, b": ", 2)
        if not write_value(text, data, &found, depth, string, other):
            return 0
        at = found.value_end
    write(text, b"}" if named else b"]", 1)
    return 1


cdef int write_value(Text *text, Bytes data, Element *found, int depth, object string, object other) except -1:
    cdef uint8_t kind = found.kind
    cdef Py_ssize_t at = found.value, size = found.value_end - found.value
    cdef int32_t small
    cdef int64_t large
    cdef uint32_t seconds, increment
    cdef double number
    cdef char *digits
    cdef char line[LONGEST_NUMBER]
    if text.relaxed and write_relaxed(text, data, found):
        return 1
    if kind == DOCUMENT or kind == 0x04:
        if size < SMALLEST_DOCUMENT or data[found.value_end - 1] != 0:
            return 0
        return write_document(text, data, at + 4, found.value_end - 1, kind == DOCUMENT, depth + 1, string, other)
    if kind == STRING:
        if size < 5:
            return 0
        write_string(text, data, at + 4, found.value_end - 1, string)
    elif kind == 0x10:
        memcpy(&small, data + at, 4)
        write(text, line, snprintf(line, LONGEST_NUMBER, b'{"$numberInt": "%d"}', <int>small))
    elif kind == 0x12:
        memcpy(&large, data + at, 8)
        write(text, line, snprintf(line, LONGEST_NUMBER, b'{"$numberLong": "%lld"}', <long long>large))
    elif kind == 0x09:
        memcpy(&large, data + at, 8)
        write(text, line, snprintf(line, LONGEST_NUMBER, b'{"$date": {"$numberLong": "%lld"}}', <long long>large))
    elif kind == 0x11:
        memcpy(&increment, data + at, 4)
        memcpy(&seconds, data + at + 4, 4)
        write(
            text,
            line,
            snprintf(line, LONGEST_NUMBER, b'{"$timestamp": {"t": %u, "i": %u}}', <unsigned>seconds, <unsigned>increment),
        )
    elif kind == 0x01:
        memcpy(&number, data + at, 8)
        if number - number != 0:  # NaN or an infinity
            return write_other(text, data, found, other)
        digits = PyOS_double_to_string(number, c"r", 0, Py_DTSF_ADD_DOT_0, NULL)
        write(text, b'{"$numberDouble": "', 19)
        write(text, digits, strlen(digits))
        PyMem_Free(digits)
        write(text, b'"}', 2)
    elif kind == 0x05 and data[at + 4] != OLD_BINARY:
        write_binary(text, data + at + 5, size - 5, data[at + 4])
    elif kind == 0x07:
        write(text, b'{"$oid": "', 10)
        make_room(text, 24)
        for size in range(12):
            text.start[text.size] = HEX[data[at + size] >> 4]
            text.start[text.size + 1] = HEX[data[at + size] & 15]
            text.size += 2
        write(text, b'"}', 2)
    elif kind == 0x08:
        if data[at]:
            write(text, b"true", 4)
        else:
            write(text, b"false", 5)
    elif kind == 0x0A:
        write(text, b"null", 4)
    else:
        return write_other(text, data, found, other)
    return 1


cdef inline bint write_relaxed(Text *text, Bytes data, Element *found) except -1:
    """Write a number or a date as anybody writes it. False: it is none, or has no such form."""
    cdef char line[LONGEST_NUMBER]
    cdef int32_t small
    cdef int64_t large
    cdef double number
    cdef char *digits
    if found.kind == 0x10:
        memcpy(&small, data + found.value, 4)
        write(text, line, snprintf(line, LONGEST_NUMBER, b"%d", <int>small))
        return True
    if found.kind == 0x12:
        memcpy(&large, data + found.value, 8)
        write(text, line, snprintf(line, LONGEST_NUMBER, b"%lld", <long long>large))
        return True
    if found.kind == 0x01:
        memcpy(&number, data + found.value, 8)
        if number - number != 0:
            return False
        digits = PyOS_double_to_string(number, c"r", 0, Py_DTSF_ADD_DOT_0, NULL)
        try:
            write(text, digits, strlen(digits))
        finally:
            PyMem_Free(digits)
        return True
    if found.kind == 0x09:
        memcpy(&large, data + found.value, 8)
        if large < 0 or large >= AFTER_9999:
            return False
        write(text, b'{"$date": "', 11)
        write(text, line, write_date(line, large))
        write(text, b'"}', 2)
        return True
    return False


cdef int write_date(char *line, int64_t milliseconds) noexcept nogil:
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
        LONGEST_NUMBER,
        b"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
        <int>year, <int>month, <int>day,
        <int>(of_day // 3600000), <int>(of_day // 60000 % 60), <int>(of_day // 1000 % 60), <int>(of_day % 1000),
    )


cdef int write_binary(Text *text, Bytes data, Py_ssize_t size, uint8_t subtype) except -1:
    cdef Py_ssize_t at
    cdef uint32_t three
    cdef char *to
    write(text, b'{"$binary": {"base64": "', 24)
    make_room(text, size // 3 * 4 + 4)
    to = text.start + text.size
    for at in range(0, size - 2, 3):
        three = <uint32_t>data[at] << 16 | <uint32_t>data[at + 1] << 8 | data[at + 2]
        to[0], to[1], to[2], to[3] = BASE64[three >> 18], BASE64[three >> 12 & 63], BASE64[three >> 6 & 63], BASE64[three & 63]
        to += 4
    at = size - size % 3
    if size % 3:
        three = <uint32_t>data[at] << 16 | (<uint32_t>data[at + 1] << 8 if size % 3 == 2 else 0)
        to[0], to[1], to[3] = BASE64[three >> 18], BASE64[three >> 12 & 63], c"="
        to[2] = BASE64[three >> 6 & 63] if size % 3 == 2 else c"="
        to += 4
    text.size = to - text.start
    write(text, b'", "subType": "', 15)
    write(text, &HEX[subtype >> 4], 1)
    write(text, &HEX[subtype & 15], 1)
    write(text, b'"}}', 3)
    return 0


cdef int write_other(Text *text, Bytes data, Element *found, object other) except -1:
    written = (<str>other((<int>found.kind, piece(data, found.value, found.value_end)))).encode()
    write(text, PyBytes_AS_STRING(written), PyBytes_GET_SIZE(written))
    return 1


cdef const char *HEX = b"0123456789abcdef"
cdef const char *BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def json(bytes document not None, string, other, bint relaxed=False):
    """`extended_json.dumps_document`, or `readable_document`, or None.

    Args:
        string: writes a text that is not plain.
        other: writes a value of the types that are rare.
        relaxed: numbers and dates as anybody writes them.
    """
    cdef Bytes data = <Bytes>PyBytes_AS_STRING(document)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(document)
    cdef Text text
    text.size, text.room, text.relaxed = 0, 2 * size + ROOM, relaxed
    text.start = <char *>malloc(text.room)
    if text.start == NULL:
        raise MemoryError
    try:
        if not write_document(&text, data, 4, size - 1, True, 0, string, other):
            return None
        return PyUnicode_DecodeUTF8(text.start, text.size, NULL)
    except Exception:  # what is wrong with it is said by the readable way
        return None
    finally:
        free(text.start)
