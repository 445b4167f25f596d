# cython: language_level=3
"""An event read where it lies, and its history written in one pass over its bytes. See `watcher.events.fast_path`.

What is done here is what `watcher.events.record` does, for events of documents as servers since 6.0 send them. Everything
is checked as in `change_history.bson.raw`, or more strictly. What is odd, and what is malformed, is declined:
`watcher.events.record` knows what it is, or what is wrong with it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItemWithError
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset

from watcher.events._blake2 cimport put_digest
from watcher.events._blake2b cimport DIGEST_BYTES, blake2b_keyed
from watcher.events._changes cimport HISTORY, PRE_IMAGE, UNKNOWN, Writing, deeper, put_change
from watcher.events._event cimport (
    DELETE, INSERT, LONGEST_TOKEN, OTHER, REPLACE, UPDATE,
    Event, Operation,
    operation_of, read_event, read_token,
)
from watcher.events._read cimport (
    ARRAY, DOCUMENT, END, FOUND, INT32, INT64, NULL_, OBJECT_ID, SMALLEST_DOCUMENT, STRING,
    Bytes, Document, Element, Read,
    find, following, inside, int32_at, is_a, is_named, opened,
)
from watcher.events._redaction cimport (
    ANY_DEPTH, DROP, GLOB, HASH, LITERAL, MASK, MOST_POSITIONS, MOST_SIZES, RULE_END,
    Position, Rules, put_inside, put_raw_description,
)
from watcher.events._replacement cimport ANOTHER, DECLINED, Fields, Order, put_replacement
from watcher.events._update cimport Tree, put_after, put_level, read_level
from watcher.events._write cimport (
    Buffer, close, opening, put, put_binary, put_key, put_name, put_string_at, put_text, put_value,
)

from change_history.bson import redacted
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.equality import key_of
from change_history.stored.order import HistoryPosition
from watcher.events.documents import weight
from watcher.events.event import DocumentKey, namespace_of

cdef enum:
    KEPT_BYTES = 1024 * 1024  # of room that is kept from event to event

cdef extern from *:
    """
    #ifndef FAST_PATH_SOURCES
    #define FAST_PATH_SOURCES ""
    #endif
    """
    const char *FAST_PATH_SOURCES

cdef extern from "string.h" nogil:
    void *memmem(const void *text, size_t size, const void *wanted, size_t wanted_size)

MADE_FROM = FAST_PATH_SOURCES.decode()
cdef tuple _NAMES = (b"", b"insert", b"update", b"delete", b"replace")  # by `Operation`

# Room that is used again for every event. No Python code runs while it is in use, so it is nobody else's.
cdef Buffer _buffer
cdef Tree _tree
cdef Fields _fields
_buffer = Buffer(NULL, 0, 0, False)
_tree = Tree(NULL, 0, 0, 0)
_fields = Fields(NULL, 0, 0, 0)


cdef class Usual:
    """An event of a document, read. Of `watcher.events.event.StreamEvent` it has what the recording stage asks for.

    Attributes:
        data: the event as the server sent it, BSON.
        namespace: `db.coll`.
        operation: `operationType`.
        lacks_pre_image: whether it comes without the pre-image that an event of its operation should have.
        in_transaction: whether it is in a transaction.
    """

    cdef readonly bytes data
    cdef readonly bytes namespace
    cdef readonly bytes operation
    cdef readonly bint lacks_pre_image
    cdef readonly bint in_transaction
    cdef Event event
    cdef Operation kind
    cdef Element id
    cdef bytes token
    cdef object known_key

    def document_id(self):
        """`documentKey._id`: type and payload."""
        return self.id.kind, PyBytes_FromStringAndSize(<const char *>self.id.value, self.id.size)

    def key(self):
        """Which document it is about.

        Raises:
            change_history.bson.raw.MalformedBSON: the `_id` cannot be read.
        """
        if self.known_key is None:
            self.known_key = tuple.__new__(DocumentKey, (self.namespace, document_key(self)))
        return self.known_key

    def transaction(self):
        """A key of the transaction that it is in; None: it is in none."""
        cdef const Element *session = &self.event.session
        cdef const Element *number = &self.event.number
        if not self.in_transaction:
            return None
        return (
            PyBytes_FromStringAndSize(<const char *>session.value, session.size)
            + PyBytes_FromStringAndSize(<const char *>number.value, number.size)
        )

    @property
    def position(self):
        """Where it stands in history."""
        time = PyBytes_FromStringAndSize(<const char *>self.event.cluster_time.value, 8)
        return HistoryPosition(ClusterTime.from_payload(time), self.token)

    def history(self, bytes known=None):
        """The history document, as `watcher.events.record.document` writes it.

        Args:
            known: the document before the event as history tells it, used where the event has no pre-image.

        Returns:
            None: the event is odd; it is for the readable way.
        """
        cdef Element before
        if not write_history(self, known, &before):
            return None
        return written()

    def followed(self, bytes known=None):
        """The history document, and the document after the event, as `watcher.events.record.followed` gives them.

        Args:
            known: as of `history`.

        Returns:
            None: the event is odd; it is for the readable way.
        """
        cdef Element before
        cdef bint is_told
        cdef bytes history, after
        if not write_history(self, known, &before):
            return None
        history = written()
        after = told_after(self, &before, &is_told)
        return (history, after) if is_told else None


cdef tuple document_key(Usual usual):
    """What `change_history.bson.equality.key_of` gives for the `_id` of an event, and what that raises."""
    cdef const Element *id = &usual.id
    cdef int64_t number
    if id.kind == INT32:
        return _NUMBER, int32_at(id.value)
    if id.kind == INT64:
        memcpy(&number, id.value, 8)
        return _NUMBER, number
    if id.kind == STRING:
        return _STRING, PyBytes_FromStringAndSize(<const char *>id.value, id.size)
    if id.kind == OBJECT_ID:
        return id.kind, PyBytes_FromStringAndSize(<const char *>id.value, id.size)
    return key_of(usual.document_id())


cdef str _NUMBER = key_of((INT32, bytes(4)))[0]
cdef str _STRING = key_of((STRING, b""))[0]
cdef tuple _UNREADABLE = (ValueError, KeyError, IndexError)  # what reading a malformed `_id` raises


def read(bytes data not None):
    """Read an event of a document.

    Args:
        data: the event as the server sent it, BSON.

    Returns:
        None: it is another event, or an odd one.
    """
    cdef Usual usual = Usual.__new__(Usual)
    return usual if read_usual(usual, data) else None


cdef bytes _namespace_read = b""
cdef bytes _namespace = b""


cdef bint read_usual(Usual usual, bytes data) except -1:
    """Read an event; whether it is a usual one. One that was read before is forgotten."""
    global _namespace_read, _namespace
    cdef uint8_t token[LONGEST_TOKEN]
    cdef Py_ssize_t token_size
    cdef Event *event = &usual.event
    if not read_event(event, <Bytes>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)):
        return False
    if not find(inside(&event.key), "_id", &usual.id):
        return False
    usual.kind = operation_of(event)
    token_size = read_token(&event.id, token)
    if usual.kind == OTHER or token_size < 0:
        return False
    usual.data = data
    if event.namespace.size != PyBytes_GET_SIZE(_namespace_read) or memcmp(
        event.namespace.value, PyBytes_AS_STRING(_namespace_read), event.namespace.size
    ):  # it is another than that of the event before
        read = PyBytes_FromStringAndSize(<const char *>event.namespace.value, event.namespace.size)
        try:
            _namespace = namespace_of(read)
        except ValueError:
            _namespace_read = b""
            return False
        _namespace_read = read
    if not _namespace:
        return False
    usual.namespace = _namespace
    usual.operation = _NAMES[<int>usual.kind]
    usual.known_key = None
    usual.in_transaction = event.session.value != NULL and event.number.value != NULL
    usual.lacks_pre_image = usual.kind != INSERT and event.before.value == NULL
    usual.token = PyBytes_FromStringAndSize(<const char *>token, token_size)
    return True


def quiet(list events not None, entry not None):
    """The history of a batch in which each event is a usual one and has its pre-image.

    Args:
        events: as the server sent them, BSON.
        entry: a class of tuples of two.

    Returns:
        For each event its history document and itself, as such a tuple; the number of events by namespace and
        operation; the bytes of history; the number of the first event of the transaction that the last one is in, -1
        if that is in none. Or None: there is another event among them.
    """
    cdef Usual usual = Usual.__new__(Usual)
    cdef Element before, session, number
    cdef Py_ssize_t begun = -1
    cdef bytes data, history, namespace = b""
    cdef list entries = []
    cdef dict counts = {}
    cdef Py_ssize_t size = 0
    cdef Py_ssize_t numbers[REPLACE + 1]
    memset(numbers, 0, sizeof(numbers))
    for data in events:
        if data is None:
            raise TypeError("an event is bytes")
        if not read_usual(usual, data) or usual.lacks_pre_image:
            return None
        if not write_history(usual, None, &before):
            return None
        history = written()
        if not usual.in_transaction:
            begun = -1
        elif begun < 0 or not is_same(&usual.event.session, &session) or not is_same(&usual.event.number, &number):
            begun = len(entries)
            session, number = usual.event.session, usual.event.number
        size += PyBytes_GET_SIZE(history)
        entries.append(tuple.__new__(entry, (history, data)))
        if usual.namespace is not namespace:
            count_up(counts, namespace, numbers)
            namespace = usual.namespace
        numbers[<int>usual.kind] += 1
    count_up(counts, namespace, numbers)
    return entries, counts, size, begun


cdef bint is_same(const Element *one, const Element *other) noexcept:
    """Whether two values are of one type, and the same bytes."""
    return one.kind == other.kind and one.size == other.size and not memcmp(one.value, other.value, one.size)


def read_some(list events not None, Py_ssize_t start, known not None):
    """Read events from one on, up to the first that is not a usual one: `watcher.events.fast_path.read_some`."""
    cdef Usual usual
    cdef Py_ssize_t number
    cdef list found = []
    cdef dict documents = {}, namespaces = {}
    cdef bytes data, namespace = None
    cdef bint lacks = False  # an event of this namespace lacks its pre-image
    for number in range(start, len(events)):
        data = events[number]
        if data is None:
            raise TypeError("an event is bytes")
        usual = Usual.__new__(Usual)
        if not read_usual(usual, data):
            break
        if usual.lacks_pre_image:
            try:
                key = usual.key()
            except _UNREADABLE:
                break
            if key not in known:
                documents[key] = usual.document_id()
        if usual.namespace is not namespace or usual.lacks_pre_image > lacks:
            namespace = usual.namespace
            lacks = usual.lacks_pre_image or namespaces.get(namespace, False)
            namespaces[namespace] = lacks
        found.append(usual)
    return found, documents, namespaces


def record_some(
    list events not None, Py_ssize_t start, documents not None, dict followed not None, apart not None, entry not None
):
    """The history of events from one on, up to one that is to be looked at: `watcher.events.fast_path.record_some`."""
    cdef Usual usual
    cdef Element before
    cdef PyObject *place
    cdef Py_ssize_t number, size = 0, held = documents.size, room = documents.room
    cdef Py_ssize_t numbers[REPLACE + 1]
    cdef bint is_followed = False, is_known, is_told, some_apart = len(apart) > 0
    cdef bytes history, document, after, namespace = None
    cdef list entries = []
    cdef dict counts = {}
    cdef object known = documents.known, changed = documents.known.move_to_end, key = None
    memset(numbers, 0, sizeof(numbers))
    for number in range(start, len(events)):
        if type(events[number]) is not Usual or (some_apart and number in apart):
            break
        usual = events[number]
        if usual.event.session.value != NULL:
            break
        if usual.namespace is not namespace:
            follows = followed.get(usual.namespace)
            if follows is None:
                break
            count_up(counts, namespace, numbers)
            namespace, is_followed = usual.namespace, follows
        document, is_known = None, False
        if is_followed:
            try:
                key = usual.key()
            except _UNREADABLE:
                break
            place = PyDict_GetItemWithError(known, key)
            is_known = place != NULL
            if is_known:
                document = <object>place
            elif usual.lacks_pre_image:
                break
        if not write_history(usual, document, &before):
            break
        history = written()
        if is_followed:
            after = told_after(usual, &before, &is_told)
            if not is_told:
                break
            if is_known:
                held += (len(after) if after is not None else 0) - (len(document) if document is not None else 0)
                known[key] = after
                changed(key)
            elif usual.kind == INSERT:
                held += weight(key, after)
                known[key] = after
            while held > room and len(known) > 1:
                held -= weight(*known.popitem(last=False))
        size += PyBytes_GET_SIZE(history)
        entries.append(tuple.__new__(entry, (history, usual.data)))
        numbers[<int>usual.kind] += 1
    count_up(counts, namespace, numbers)
    documents.size = held
    return entries, counts, size


cdef count_up(dict counts, bytes namespace, Py_ssize_t *numbers):
    """Add the numbers of a namespace's events to those that are known, and begin anew."""
    cdef int kind
    for kind in range(INSERT, REPLACE + 1):
        if numbers[kind]:
            key = namespace, _NAMES[kind]
            counts[key] = counts.get(key, 0) + numbers[kind]
            numbers[kind] = 0


def documents(bytes data not None, Py_ssize_t start, Py_ssize_t stop):
    """The documents of an array, in their order.

    Args:
        data: holds the array, BSON.
        start: where it begins.
        stop: where it ends.

    Returns:
        They, or None: something in it is no document, or malformed.
    """
    cdef Document inner
    cdef Element found
    cdef Read read
    cdef list contents = []
    if start < 0 or stop > PyBytes_GET_SIZE(data) or stop - start < SMALLEST_DOCUMENT:
        return None
    inner = opened(<Bytes>PyBytes_AS_STRING(data) + start, stop - start)
    while (read := following(&inner, &found)) == FOUND:
        if found.kind != DOCUMENT:
            return None
        contents.append(PyBytes_FromStringAndSize(<const char *>found.value, found.size))
    return contents if read == END else None


cdef bint find_names(bytes data, Element *found) noexcept:
    """Find the `ns` of an event; whether it has one that is a document, and what stands before can be read."""
    cdef Document contents
    if PyBytes_GET_SIZE(data) < SMALLEST_DOCUMENT:
        return False
    contents = opened(<Bytes>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    while following(&contents, found) == FOUND:
        if is_named(found, "ns"):
            return found.kind == DOCUMENT
    return False


def withheld(list events not None, dict known not None, find_redactor):
    """Events as `watcher.events.redaction.Redaction.batch` writes them, and the numbers of those with marks.

    Args:
        events: as the server sent them, BSON.
        known: by the payload of `ns`, what redacts in that namespace; None: nothing does.
        find_redactor: finds that of one that is not known.
    """
    cdef Withholding quick = None
    cdef Element found
    cdef Py_ssize_t number
    cdef bint is_marked = False
    cdef bytes data, written, named = b""
    cdef list kept = events
    cdef set marked = set()
    redactor = None
    for number in range(len(events)):
        data = events[number]
        if data is None:
            raise TypeError("an event is bytes")
        if not find_names(data, &found):
            continue
        if found.size != PyBytes_GET_SIZE(named) or memcmp(found.value, PyBytes_AS_STRING(named), found.size):
            named = PyBytes_FromStringAndSize(<const char *>found.value, found.size)
            redactor = known[named] if named in known else find_redactor(named)
            quick = redactor.quick if redactor is not None else None
        if redactor is None:
            continue
        written = quick.written(data, &is_marked) if quick is not None else None
        if written is None:
            written, is_marked = redactor.marked_event(data)
        if written is data:
            continue
        if kept is events:
            kept = list(events)
        kept[number] = written
        if is_marked:
            marked.add(number)
    return kept, frozenset(marked)


# Room that is used again for every event in which values are withheld. No Python code runs while it is in use.
cdef Buffer _withheld
_withheld = Buffer(NULL, 0, 0, False)


cdef bytes taken(bytes unless_touched, bint touched, bint done):
    """What is in the room for withheld values, or what it was made from; None: it was declined."""
    cdef bytes found = None
    if done and not _withheld.failed:
        found = (
            PyBytes_FromStringAndSize(<const char *>_withheld.start, _withheld.used) if touched else unless_touched
        )
    if _withheld.failed or _withheld.room > KEPT_BYTES:
        free(_withheld.start)
        memset(&_withheld, 0, sizeof(Buffer))
    return found


cdef class Withholding:
    """The rules of one namespace. What they make is that of `watcher.events.redaction.Redactor`.

    Args:
        parts: what is expected at each position, as `change_history.redaction_rules.Paths` has it, in UTF-8: the part, its kind
            (`literal`, `glob`, `any depth`), or how a rule at its end withholds; then the positions that come with it.
        start: the positions at which the rules begin.
        head: of the payload of a hashed value: what stands before the digest.
        key: of the digests, 64 bytes at most.
    """

    cdef Rules rules
    cdef list kept
    cdef bytes head

    def __init__(self, list parts, start, bytes head not None, bytes key not None):
        cdef Position *position
        if len(parts) > MOST_POSITIONS:
            raise OverflowError("too many rules")
        self.kept = [text for text, _, _ in parts]
        self.head = head
        self.rules.hashed_head = <Bytes>PyBytes_AS_STRING(self.head)
        self.rules.hashed_head_size = PyBytes_GET_SIZE(self.head) if key else 0
        if PyBytes_GET_SIZE(key) > 64:
            raise OverflowError("too long a key")
        blake2b_keyed(self.rules.keyed, <Bytes>PyBytes_AS_STRING(key), <int>PyBytes_GET_SIZE(key), DIGEST_BYTES)
        self.rules.count = len(parts)
        self.rules.start = start
        self.rules.ended = 0
        memset(self.rules.of_size, 0, sizeof(self.rules.of_size))
        memset(self.rules.of_first, 0, sizeof(self.rules.of_first))
        self.rules.magic = <Bytes>PyBytes_AS_STRING(_MAGIC)
        for number, (text, kind, reached) in enumerate(parts):
            position = &self.rules.positions[number]
            position.text, position.size = <Bytes>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)
            position.reached = reached
            position.how = _HOW.get(kind, DROP)
            position.kind = _KINDS.get(kind, RULE_END)
            if position.kind == RULE_END:
                self.rules.ended |= (<uint64_t>1) << <int>number
            self._note(position, (<uint64_t>1) << <int>number)

    cdef void _note(self, const Position *position, uint64_t bit) noexcept:
        """Note which keys a position can match."""
        cdef int number
        cdef bint literal = position.kind == LITERAL
        for number in range(MOST_SIZES):
            if not literal or number == position.size or (number == MOST_SIZES - 1 and position.size > number):
                self.rules.of_size[number] |= bit
        for number in range(256):
            if not literal or (position.size and position.text[0] == number):
                self.rules.of_first[number] |= bit

    def document(self, bytes document not None):
        """A document of the namespace; None: it is odd."""
        cdef Element whole, nothing
        cdef bint done
        if PyBytes_GET_SIZE(document) < SMALLEST_DOCUMENT:
            return None
        memset(&nothing, 0, sizeof(Element))
        whole = nothing
        whole.kind, whole.value, whole.size = DOCUMENT, <Bytes>PyBytes_AS_STRING(document), PyBytes_GET_SIZE(document)
        self.rules.touched, self.rules.blind, _withheld.used = False, False, 0
        done = put_inside(&self.rules, &_withheld, &whole, self.rules.start, True, False, &nothing, 0)
        return taken(document, self.rules.touched, done)

    def marked_event(self, bytes data not None):
        """A change event of the namespace, and whether values are marked in it; None: it is odd."""
        cdef bint is_marked = False
        cdef bytes found = self.written(data, &is_marked)
        return (found, bool(is_marked)) if found is not None else None

    cdef bytes written(self, bytes data, bint *is_marked):
        """A change event of the namespace; None: it is odd."""
        cdef Event event
        cdef Bytes start = <Bytes>PyBytes_AS_STRING(data)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef bint done
        if size < SMALLEST_DOCUMENT or int32_at(start) != size or start[size - 1] != 0:
            return None
        if not read_event(&event, start, size) or operation_of(&event) == OTHER:
            return None
        if operation_of(&event) == REPLACE and (
            memmem(start, size, PyBytes_AS_STRING(_CHANGED), PyBytes_GET_SIZE(_CHANGED)) != NULL
        ):
            return None
        self.rules.touched = self.rules.marked = False
        _withheld.used = 0
        done = self._put_event(&_withheld, &event, data)
        is_marked[0] = self.rules.marked
        return taken(data, self.rules.touched, done)

    cdef bint _put_event(self, Buffer *buffer, const Event *event, bytes data) noexcept:
        cdef Document contents = opened(<Bytes>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        cdef Element found, nothing
        cdef const Element *was
        cdef bint replaces = operation_of(event) == REPLACE
        cdef Py_ssize_t start = opening(buffer)
        memset(&nothing, 0, sizeof(Element))
        while following(&contents, &found) == FOUND:
            if is_named(&found, "updateDescription"):
                return False
            if is_named(&found, "rawUpdateDescription"):
                if not is_a(&found, DOCUMENT, SMALLEST_DOCUMENT):
                    return False
                put_key(buffer, DOCUMENT, found.key, found.key_size)
                if not put_raw_description(&self.rules, buffer, &found):
                    return False
                continue
            was = &nothing
            self.rules.blind = False
            if is_named(&found, "fullDocument"):
                was = &event.before if replaces else &nothing
                self.rules.blind = replaces and was.value == NULL
            elif not (is_named(&found, "fullDocumentBeforeChange") or is_named(&found, "documentKey")):
                put(buffer, found.key - 1, found.value + found.size - found.key + 1)
                continue
            if found.kind == NULL_:
                put(buffer, found.key - 1, found.value + found.size - found.key + 1)
                continue
            if not is_a(&found, DOCUMENT, SMALLEST_DOCUMENT):
                return False
            put_key(buffer, DOCUMENT, found.key, found.key_size)
            if not put_inside(
                &self.rules, buffer, &found, self.rules.start, True, False, was, 0
            ):
                return False
        close(buffer, start)
        return True


_MAGIC = redacted.MAGIC
_CHANGED = redacted.CHANGED
_HOW = {"drop": DROP, "mask": MASK, "hash": HASH}
_KINDS = {"literal": LITERAL, "glob": GLOB, "any depth": ANY_DEPTH}


cdef bytes written():
    """What is in the buffer."""
    cdef bytes found
    if _buffer.failed:
        let_go()
        raise MemoryError
    found = PyBytes_FromStringAndSize(<const char *>_buffer.start, _buffer.used)
    if _buffer.room > KEPT_BYTES:
        let_go()
    return found


cdef bytes told_after(Usual usual, const Element *before, bint *is_told):
    """The document after an event, of which the history is just written; None: unknown, or there is none.

    Args:
        usual: the event.
        before: the document before it; without a value: unknown.
        is_told: is given whether that can be told here; if not, the event is odd.
    """
    is_told[0] = True
    if usual.kind == DELETE or (usual.kind == UPDATE and before.value == NULL):
        return None
    _buffer.used = 0
    is_told[0] = write_after(usual, before)
    return written() if is_told[0] else None


cdef void let_go() noexcept:
    free(_buffer.start)
    memset(&_buffer, 0, sizeof(Buffer))
    free(_tree.entries)
    memset(&_tree, 0, sizeof(Tree))
    free(_fields.elements)
    memset(&_fields, 0, sizeof(Fields))


cdef bint write_history(Usual usual, bytes known, Element *before):
    """Write the history document into the buffer.

    Args:
        usual: the event.
        known: the document before it as history tells it.
        before: is given the document before the event, its pre-image or that one; without a value: unknown.
    """
    cdef Event *event = &usual.event
    cdef uint8_t identity[16]
    cdef int number
    cdef Writing writing
    for number in range(8):
        identity[number] = event.cluster_time.value[7 - number]  # big-endian, so that it sorts
    put_digest(identity + 8, <Bytes>PyBytes_AS_STRING(usual.token), PyBytes_GET_SIZE(usual.token))
    before[0] = event.before
    writing.origin = PRE_IMAGE
    if before.value == NULL:
        writing.origin = UNKNOWN
        if known is not None and usual.kind != INSERT:
            if not is_whole(<Bytes>PyBytes_AS_STRING(known), PyBytes_GET_SIZE(known)):
                return False
            before.kind, before.value, before.size = DOCUMENT, <Bytes>PyBytes_AS_STRING(known), PyBytes_GET_SIZE(known)
            writing.origin = HISTORY
    _buffer.used = 0
    writing.buffer, writing.path.depth, writing.count = &_buffer, 0, 0
    opening(&_buffer)
    put_binary(&_buffer, "_id", identity, 16)
    put_text(&_buffer, "namespace", PyBytes_AS_STRING(usual.namespace), PyBytes_GET_SIZE(usual.namespace))
    put_value(&_buffer, "document_id", &usual.id)
    put_value(&_buffer, "operation", &event.operation)
    put_value(&_buffer, "timestamp", &event.wall_time)
    put_value(&_buffer, "cluster_time", &event.cluster_time)
    if not put_changes(&writing, event, usual.kind, before):
        return False
    if event.session.value != NULL and event.number.value != NULL:
        put_name(&_buffer, DOCUMENT, "transaction")
        number = opening(&_buffer)
        put_value(&_buffer, "session", &event.session)
        put_value(&_buffer, "number", &event.number)
        close(&_buffer, number)
    put_binary(&_buffer, "resume_token", PyBytes_AS_STRING(usual.token), PyBytes_GET_SIZE(usual.token))
    close(&_buffer, 0)
    return True


cdef bint is_whole(Bytes document, Py_ssize_t size) noexcept nogil:
    """Whether bytes begin with their own length, and end as a document does."""
    return size >= SMALLEST_DOCUMENT and int32_at(document) == size and document[size - 1] == 0


cdef bint put_changes(Writing *writing, const Event *event, Operation kind, const Element *before) noexcept nogil:
    """Write `changes`, and `key_order` where a replacement needs it. False: the event is odd."""
    cdef Py_ssize_t start
    cdef Order order = DECLINED
    cdef bint done
    put_name(writing.buffer, ARRAY, "changes")
    start = opening(writing.buffer)
    if kind == UPDATE:
        done = put_update(writing, event, before)
    elif kind == INSERT:
        writing.origin = PRE_IMAGE
        done = put_each(writing, &event.after, False)
    elif before.value == NULL:
        if kind == DELETE:
            put_change(writing, NULL, NULL, -1, False)
            done = True
        else:
            done = put_each(writing, &event.after, False)
    elif kind == DELETE:
        done = put_each(writing, before, True)
    elif not is_a(before, DOCUMENT, 9) or memcmp(before.value + 5, b"_id", 4) != 0:
        done = False
    else:
        order = put_replacement(writing, &_fields, before, &event.after)
        done = order != DECLINED
    close(writing.buffer, start)
    if order == ANOTHER:
        put_key_order(writing.buffer, &event.after)
    return done


cdef bint put_each(Writing *writing, const Element *whole, bint gone) noexcept nogil:
    """Write the changes of a whole document that appears or goes."""
    cdef Document document = inside(whole)
    cdef Element found
    cdef Read read
    while (read := following(&document, &found)) == FOUND:
        deeper(&writing.path, found.key, found.key_size, -1)
        put_change(writing, &found if gone else NULL, NULL if gone else &found, -1, False)
        writing.path.depth -= 1
    return read == END


cdef void put_key_order(Buffer *buffer, const Element *whole) noexcept nogil:
    cdef Document document = inside(whole)
    cdef Element found
    cdef Py_ssize_t start
    cdef int index = 0
    put_name(buffer, ARRAY, "key_order")
    start = opening(buffer)
    while following(&document, &found) == FOUND:
        put_string_at(buffer, index, found.key, found.key_size)
        index += 1
    close(buffer, start)


cdef bint put_update(Writing *writing, const Event *event, const Element *before) noexcept nogil:
    """Write the changes of an update, described as `{$v: 2, diff: {…}}`."""
    cdef Document document = inside(&event.delta)
    cdef Element version, diff
    if following(&document, &version) != FOUND or not is_named(&version, "$v"):
        return False
    if version.kind != INT32 or int32_at(version.value) != 2:
        return False
    if following(&document, &diff) != FOUND or not is_named(&diff, "diff") or document.at != document.end:
        return False
    if not is_a(&diff, DOCUMENT, SMALLEST_DOCUMENT):
        return False
    _tree.count, _tree.comparisons = 0, 0
    if not read_level(&_tree, inside(&diff), False, before, 0):
        return False
    return put_level(writing, &_tree, 0, _tree.count)


cdef bint write_after(Usual usual, const Element *before) noexcept nogil:
    """Write the document after an event, of which the history is just written."""
    cdef Document document
    cdef Element found
    cdef Py_ssize_t start
    if usual.kind == UPDATE:
        return put_after(&_buffer, &_tree, 0, _tree.count, before)
    document = inside(&usual.event.after)
    start = opening(&_buffer)
    while following(&document, &found) == FOUND:
        put(&_buffer, found.key - 1, found.value + found.size - found.key + 1)
    close(&_buffer, start)
    return True
