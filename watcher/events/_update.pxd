"""What an update did, as a tree beside the document before it: its changes, and the document after it.

The compiled counterpart of `watcher.events.update.from_raw`, `change_history.stored.changes.of_steps` and, for updates,
of `change_history.reconstruct.fold`. What those take for a fault, or for a special case, is declined.
"""

from libc.stdint cimport uint8_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy

from watcher.events._changes cimport DEEPEST, UNKNOWN, Path, Writing, deeper, put_change
from watcher.events._read cimport (
    ARRAY, BOOLEAN, DOCUMENT, END, FOUND, INT32, NULL_, SMALLEST_DOCUMENT,
    Bytes, Document, Element, Read,
    following, inside, int32_at, is_a, is_named, same_name,
)
from watcher.events._write cimport Buffer, close, opening, put, put_byte, put_decimal, put_field, put_index, put_key

cdef enum:
    MOST_ENTRIES = 1000000
    MOST_COMPARISONS = 20000000  # of names, for one event
    MOST_FILLED = 1000  # nulls that get changes of their own
    MOST_NULLS = 10000  # between the end of an array and what is set beyond it
    MOST_NEW = 256  # fields that one update brings to one document

cdef enum Action:
    SET
    APPEND
    REMOVE
    TRUNCATE
    INNER

cdef struct Entry:
    Element named  # the name, and the new value or what was done below
    Element old
    Action action
    int index  # in an array, or the new length of one; -1: it has a name
    bint of_array  # INNER: what is changed is an array
    int first  # INNER: the entries below
    int count
    int filled_from  # SET beyond the end of an array: where it ended; else -1

cdef struct Tree:
    Entry *entries
    int count
    int room
    Py_ssize_t comparisons


cdef inline Entry *added(Tree *tree, const Element *named, Action action, int index) noexcept nogil:
    """Add an entry; NULL: there are too many."""
    cdef Entry *moved
    cdef Entry *entry
    if tree.count == tree.room:
        if tree.room >= MOST_ENTRIES:
            return NULL
        moved = <Entry *>realloc(tree.entries, (2 * tree.room + 64) * sizeof(Entry))
        if moved == NULL:
            return NULL
        tree.entries, tree.room = moved, 2 * tree.room + 64
    entry = &tree.entries[tree.count]
    tree.count += 1
    entry.named, entry.action, entry.index = named[0], action, index
    entry.old.value = NULL
    entry.first = entry.count = 0
    entry.of_array = False
    entry.filled_from = -1
    return entry


cdef inline int number_of(Bytes text, Py_ssize_t size) noexcept nogil:
    """A decimal number without leading zeros, of at most nine digits; -1: it is none."""
    cdef Py_ssize_t place
    cdef int number = 0
    if size < 1 or size > 9 or (size > 1 and text[0] == c"0"):
        return -1
    for place in range(size):
        if not c"0" <= text[place] <= c"9":
            return -1
        number = number * 10 + text[place] - c"0"
    return number


cdef inline bint read_document_delta(Tree *tree, Document delta, bint top) noexcept nogil:
    """Read what was done to a document, one level deep."""
    cdef Document section
    cdef Element found, field
    cdef Read read
    cdef Action action
    while (read := following(&delta, &found)) == FOUND:
        if not is_a(&found, DOCUMENT, SMALLEST_DOCUMENT) or found.key_size == 0:
            return False
        if found.key[0] == c"s":
            field = found
            field.key += 1
            field.key_size -= 1
            if (top and is_named(&field, "_id")) or added(tree, &field, INNER, -1) == NULL:
                return False
            continue
        if is_named(&found, "u"):
            action = SET
        elif is_named(&found, "i"):
            action = APPEND
        elif is_named(&found, "d"):
            action = REMOVE
        else:
            return False
        section = inside(&found)
        while (read := following(&section, &field)) == FOUND:
            # A pipeline may move `_id`; the server stores it first and unchanged all the same.
            if not (top and is_named(&field, "_id")) and added(tree, &field, action, -1) == NULL:
                return False
        if read != END:
            return False
    return read == END


cdef inline bint read_array_delta(Tree *tree, Document delta) noexcept nogil:
    """Read what was done to an array, one level deep, behind the mark that it is one."""
    cdef Element found
    cdef Read read
    cdef int index
    while (read := following(&delta, &found)) == FOUND:
        if is_named(&found, "l"):
            if found.kind != INT32 or int32_at(found.value) < 0:
                return False
            if added(tree, &found, TRUNCATE, int32_at(found.value)) == NULL:
                return False
            continue
        index = number_of(found.key + 1, found.key_size - 1)
        if index < 0:
            return False
        if found.key[0] == c"u":
            if added(tree, &found, SET, index) == NULL:
                return False
        elif found.key[0] != c"s" or not is_a(&found, DOCUMENT, SMALLEST_DOCUMENT):
            return False
        elif added(tree, &found, INNER, index) == NULL:
            return False
    return read == END


cdef inline bint find_old(Tree *tree, int first, const Element *container) noexcept nogil:
    """Find the old values of the entries from one on, of one level, in what they are about."""
    cdef Document contents = inside(container)
    cdef Element found
    cdef Entry *entry
    cdef Read read
    cdef bint in_array = container.kind == ARRAY
    cdef int number, index = 0
    while (read := following(&contents, &found)) == FOUND:
        tree.comparisons += tree.count - first
        for number in range(first, tree.count):
            entry = &tree.entries[number]
            if in_array:
                if entry.index != index or entry.action == TRUNCATE:
                    continue
            elif not same_name(&entry.named, &found):
                continue
            if entry.old.value != NULL:
                return False  # the document has the key more than once
            entry.old = found
        index += 1
    if in_array:
        for number in range(first, tree.count):
            entry = &tree.entries[number]
            if entry.action == TRUNCATE:
                entry.old = container[0]
            elif entry.action == SET and entry.index >= index:
                entry.filled_from = index
                index = entry.index + 1
    return read == END and tree.comparisons < MOST_COMPARISONS


cdef inline bint read_level(
    Tree *tree, Document delta, bint of_array, const Element *container, int depth
) noexcept nogil:
    """Read what was done to a document or an array, and below it; its entries are the next ones of the tree.

    Args:
        tree: to be filled.
        delta: what was done.
        of_array: to an array.
        container: what it was done to; without a value: unknown.
        depth: 0: the whole document.

    Returns:
        False: it is declined.
    """
    cdef int first = tree.count, number, last
    cdef Document below
    cdef Element mark, inner
    cdef Entry *entry
    if depth == DEEPEST:
        return False
    if container.value != NULL and (container.size < 1 or container.value[container.size - 1] != 0):
        return False  # it does not end as a document does
    if not (read_array_delta(tree, delta) if of_array else read_document_delta(tree, delta, depth == 0)):
        return False
    last = tree.count
    if container.value != NULL and not find_old(tree, first, container):
        return False
    for number in range(first, last):
        if tree.entries[number].action != INNER:
            continue
        below = inside(&tree.entries[number].named)
        inner = tree.entries[number].old
        mark.value = NULL
        if below.at < below.end and below.at[0] == BOOLEAN:
            if following(&below, &mark) != FOUND or not is_named(&mark, "a"):
                return False
        entry = &tree.entries[number]
        entry.of_array, entry.first = mark.value != NULL, tree.count
        if container.value != NULL and not is_a(&inner, ARRAY if entry.of_array else DOCUMENT, SMALLEST_DOCUMENT):
            return False
        if not read_level(tree, below, entry.of_array, &inner, depth + 1):
            return False
        tree.entries[number].count = tree.count - tree.entries[number].first
    return True


cdef inline int level_end(const Tree *tree, int first, int count) noexcept nogil:
    """Where the entries of a level end: those below its own follow them."""
    cdef int number
    for number in range(first, first + count):
        if tree.entries[number].action == INNER:
            return tree.entries[number].first
    return first + count


cdef inline bint put_filled(Writing *writing, const Entry *entry) noexcept nogil:
    """Write the changes of the nulls between the end of an array and what is set beyond it. False: a path is too long."""
    cdef Element null = entry.named
    cdef int index
    null.kind, null.size = NULL_, 0
    for index in range(entry.filled_from, min(entry.index, entry.filled_from + MOST_FILLED)):
        if not deeper(&writing.path, NULL, 0, index):
            return False
        put_change(writing, NULL, &null, -1, False)
        writing.path.depth -= 1
    return True


cdef inline bint put_level(Writing *writing, const Tree *tree, int first, int count) noexcept nogil:
    """Write the changes of a level and below it. False: a path is too long."""
    cdef const Entry *entry
    cdef int number
    for number in range(first, level_end(tree, first, count)):
        entry = &tree.entries[number]
        if entry.action == TRUNCATE:
            put_change(writing, &entry.old, NULL, entry.index, False)
            continue
        if entry.filled_from >= 0 and not put_filled(writing, entry):
            return False
        if not deeper(&writing.path, entry.named.key, entry.named.key_size, entry.index):
            return False
        if entry.action == INNER:
            if not put_level(writing, tree, entry.first, entry.count):
                return False
        elif entry.action == REMOVE:
            put_change(writing, &entry.old, NULL, -1, False)
        else:
            put_change(writing, &entry.old, &entry.named, -1, entry.action == APPEND)
        writing.path.depth -= 1
    return True


cdef inline const Entry *entry_of(const Tree *tree, int first, int end, const Element *found, bint *twice) noexcept nogil:
    """The entry that changes an element of a document or array; NULL: none."""
    cdef const Entry *entry = NULL
    cdef int number
    for number in range(first, end):
        if tree.entries[number].old.value == found.value and tree.entries[number].action != TRUNCATE:
            twice[0] = twice[0] or entry != NULL
            entry = &tree.entries[number]
    return entry


cdef inline bint put_after(
    Buffer *buffer, const Tree *tree, int first, int count, const Element *container
) noexcept nogil:
    """Write what a document or an array, with its old values found, is after the changes. False: it is declined."""
    cdef Py_ssize_t start = opening(buffer)
    cdef int end = level_end(tree, first, count)
    cdef bint whole
    if container.kind == ARRAY:
        whole = put_elements_after(buffer, tree, first, end, container)
    else:
        whole = put_fields_after(buffer, tree, first, end, container)
    close(buffer, start)
    return whole


cdef inline bint put_fields_after(
    Buffer *buffer, const Tree *tree, int first, int end, const Element *container
) noexcept nogil:
    cdef Document contents = inside(container)
    cdef Element found
    cdef const Entry *entry
    cdef int number, other, fresh = 0
    cdef bint twice = False
    cdef int new[MOST_NEW]
    while following(&contents, &found) == FOUND:
        entry = entry_of(tree, first, end, &found, &twice)
        if entry == NULL:
            put(buffer, found.key - 1, found.value + found.size - found.key + 1)
        elif entry.action == SET:
            put_field(buffer, found.key, found.key_size, &entry.named)
        elif entry.action == INNER:
            put_key(buffer, found.kind, found.key, found.key_size)
            if not put_after(buffer, tree, entry.first, entry.count, &entry.old):
                return False
    for number in range(first, end):
        entry = &tree.entries[number]
        if entry.old.value == NULL and entry.action not in (SET, APPEND):
            return False
        if entry.action != APPEND and not (entry.action == SET and entry.old.value == NULL):
            continue
        if fresh == MOST_NEW:
            return False
        for other in range(fresh):
            if same_name(&tree.entries[new[other]].named, &entry.named):
                return False
        new[fresh] = number
        fresh += 1
        put_field(buffer, entry.named.key, entry.named.key_size, &entry.named)
    return not twice


cdef inline bint put_elements_after(
    Buffer *buffer, const Tree *tree, int first, int end, const Element *container
) noexcept nogil:
    cdef Document contents = inside(container)
    cdef Element found
    cdef const Entry *entry
    cdef int number, index = 0, length = 0, kept = 0
    cdef bint twice = False, cut = first < end and tree.entries[first].action == TRUNCATE
    while following(&contents, &found) == FOUND:
        if number_of(found.key, found.key_size) != index:
            return False
        if not cut or index < tree.entries[first].index:
            entry = entry_of(tree, first, end, &found, &twice)
            if entry == NULL:
                put(buffer, found.key - 1, found.value + found.size - found.key + 1)
            elif entry.action == SET:
                put_index(buffer, entry.named.kind, index)
                put(buffer, entry.named.value, entry.named.size)
            else:
                put_index(buffer, found.kind, index)
                if not put_after(buffer, tree, entry.first, entry.count, &entry.old):
                    return False
            kept += 1
        index += 1
    length = kept
    for number in range(first, end):
        entry = &tree.entries[number]
        if entry.action == TRUNCATE:
            if number != first:
                return False
        elif entry.index >= kept:
            if entry.action != SET or entry.index < length or entry.index - length > MOST_NULLS:
                return False
            while length < entry.index:
                put_index(buffer, NULL_, length)
                length += 1
            put_index(buffer, entry.named.kind, length)
            put(buffer, entry.named.value, entry.named.size)
            length += 1
    return not twice
