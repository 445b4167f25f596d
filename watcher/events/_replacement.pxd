"""The changes that lead from one image of a document to another: the compiled counterpart of `change_history.diff.images`.

What that takes for a special case, keys that occur twice at the top or another `_id`, is declined.
"""

from libc.stdint cimport int32_t, uint32_t, uint8_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp

from watcher.events._changes cimport Writing, deeper, put_change
from watcher.events._read cimport (
    DOCUMENT, END, FOUND, SMALLEST_DOCUMENT,
    Document, Element, Read,
    following, inside, is_a, is_named, same_name,
)

cdef enum:
    FEW = 24  # fields that are compared one by one; more are looked up
    MOST_FIELDS = 1000000
    MOST_COMPARISONS = 20000000  # of names, for one event

cdef enum Order:
    DECLINED
    KEPT  # the changes give the order of the keys too
    ANOTHER

cdef struct Fields:  # of several documents, one behind the other
    Element *elements
    int count
    int room
    Py_ssize_t comparisons


cdef inline bint taken_apart(Fields *fields, const Element *document) noexcept nogil:
    """Add the fields of a document."""
    cdef Document contents = inside(document)
    cdef Element found
    cdef Element *moved
    cdef Read read
    if document.value[document.size - 1] != 0:
        return False
    while (read := following(&contents, &found)) == FOUND:
        if fields.count == fields.room:
            if fields.room >= MOST_FIELDS:
                return False
            moved = <Element *>realloc(fields.elements, (2 * fields.room + 64) * sizeof(Element))
            if moved == NULL:
                return False
            fields.elements, fields.room = moved, 2 * fields.room + 64
        fields.elements[fields.count] = found
        fields.count += 1
    return read == END


cdef inline int repeats(Fields *fields, int first, int end) noexcept nogil:
    """Whether a name occurs twice among some fields; -1: that would take too long to say."""
    cdef int one, other
    cdef uint32_t mask, place
    cdef uint32_t digest
    cdef Py_ssize_t at
    cdef int32_t *table
    cdef int found = 0
    if end - first <= FEW:
        for one in range(first, end):
            for other in range(first, one):
                if same_name(&fields.elements[one], &fields.elements[other]):
                    return 1
        return 0
    mask = 64
    while mask < <uint32_t>(2 * (end - first)):
        mask *= 2
    table = <int32_t *>calloc(mask, sizeof(int32_t))
    if table == NULL:
        return -1
    mask -= 1
    for one in range(first, end):
        digest = 2166136261
        for at in range(fields.elements[one].key_size):
            digest = (digest ^ fields.elements[one].key[at]) * 16777619
        place = digest & mask
        while table[place] and not found:
            fields.comparisons += 1
            if same_name(&fields.elements[one], &fields.elements[table[place] - 1]):
                found = 1
            elif fields.comparisons > MOST_COMPARISONS:
                found = -1
            place = (place + 1) & mask
        if found:
            break
        table[place] = one + 1
    free(table)
    return found


cdef inline int place_in(Fields *fields, int first, int end, int likely, const Element *named) noexcept nogil:
    """Which of some fields has a name; -1: none.

    Args:
        fields: all.
        first: where they begin.
        end: where they end.
        likely: the one to look at first: most documents keep their order.
        named: has the name.
    """
    cdef int place
    if likely < end and same_name(&fields.elements[likely], named):
        return likely
    for place in range(first, end):
        fields.comparisons += 1
        if same_name(&fields.elements[place], named):
            return place
    return -1


cdef inline bint is_same(const Element *one, const Element *other) noexcept nogil:
    """Whether two elements have the same value."""
    return one.kind == other.kind and one.size == other.size and memcmp(one.value, other.value, one.size) == 0


cdef inline Order put_replacement(
    Writing *writing, Fields *fields, const Element *before, const Element *after
) noexcept nogil:
    """Write the changes from one image to another, both of which begin with `_id`; whether they give the order too."""
    cdef int middle
    fields.count, fields.comparisons = 0, 0
    if not taken_apart(fields, before):
        return DECLINED
    middle = fields.count
    if not taken_apart(fields, after) or repeats(fields, 0, middle) or repeats(fields, middle, fields.count):
        return DECLINED
    if not is_same(&fields.elements[0], &fields.elements[middle]):
        return DECLINED
    return put_differences(writing, fields, 0, middle, fields.count)


cdef inline Order put_differences(
    Writing *writing, Fields *fields, int old_first, int new_first, int end
) noexcept nogil:
    """Write the changes between fields from `old_first` on and those from `new_first` on."""
    cdef int place, found, likely = old_first, latest = old_first - 1
    cdef bint kept = True, brought = False
    cdef Element old, new
    cdef Order below
    for place in range(old_first, new_first):
        found = place_in(fields, new_first, end, new_first + place - old_first, &fields.elements[place])
        if found < 0:
            old = fields.elements[place]
            if not deeper(&writing.path, old.key, old.key_size, -1):
                return DECLINED
            put_change(writing, &old, NULL, -1, False)
            writing.path.depth -= 1
    for place in range(new_first, end):
        new = fields.elements[place]
        found = place_in(fields, old_first, new_first, likely, &new)
        if fields.comparisons > MOST_COMPARISONS or not deeper(&writing.path, new.key, new.key_size, -1):
            return DECLINED
        if found < 0:
            brought = True
            put_change(writing, NULL, &new, -1, False)
        else:
            old = fields.elements[found]
            kept = kept and found > latest and not brought
            latest, likely = found, found + 1
            if not is_same(&old, &new):
                below = put_below(writing, fields, &old, &new)
                if below == DECLINED:
                    return DECLINED
                if below == ANOTHER:
                    put_change(writing, &old, &new, -1, False)
        writing.path.depth -= 1
    return KEPT if kept else ANOTHER


cdef inline Order put_below(Writing *writing, Fields *fields, const Element *old, const Element *new) noexcept nogil:
    """Write the changes between two values of a field, if both are documents; ANOTHER: it is changed as a whole."""
    cdef Py_ssize_t used = writing.buffer.used
    cdef int count = writing.count, first = fields.count, middle, either
    cdef Order order
    if old.kind != DOCUMENT or new.kind != DOCUMENT:
        return ANOTHER
    if old.size < SMALLEST_DOCUMENT or new.size < SMALLEST_DOCUMENT:
        return DECLINED
    if not taken_apart(fields, old):
        return DECLINED
    middle = fields.count
    if not taken_apart(fields, new):
        return DECLINED
    either = repeats(fields, first, middle)
    if not either:
        either = repeats(fields, middle, fields.count)
    if either < 0:
        return DECLINED
    order = ANOTHER if either else put_differences(writing, fields, first, middle, fields.count)
    fields.count = first
    if order == ANOTHER:
        writing.buffer.used, writing.count = used, count
    return order
