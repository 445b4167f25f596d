# cython: language_level=3
"""What sealing hashes, compiled, and without the interpreter's lock: the stages of a daemon go on meanwhile.

SHA-256 (FIPS 180-4) by the processor's own instructions where it has them, as most x86-64 of the last years do.
`change_history.seals.records` says what is meant, and does the same where this was not compiled.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

cdef extern from *:
    """
    #ifndef HASHING_SOURCE
    #define HASHING_SOURCE ""
    #endif

    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>

    static const uint32_t sha256_constants[64] __attribute__((aligned(16))) = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
    };

    #define ROTATED(x, n) (((x) >> (n)) | ((x) << (32 - (n))))

    static void sha256_blocks_plain(uint32_t *state, const uint8_t *data, size_t blocks)
    {
        uint32_t w[64], s[8], one, two;
        int t;
        for (; blocks; blocks--, data += 64) {
            for (t = 0; t < 16; t++)
                w[t] = (uint32_t)data[4 * t] << 24 | (uint32_t)data[4 * t + 1] << 16
                     | (uint32_t)data[4 * t + 2] << 8 | data[4 * t + 3];
            for (; t < 64; t++)
                w[t] = w[t - 16] + w[t - 7]
                     + (ROTATED(w[t - 15], 7) ^ ROTATED(w[t - 15], 18) ^ (w[t - 15] >> 3))
                     + (ROTATED(w[t - 2], 17) ^ ROTATED(w[t - 2], 19) ^ (w[t - 2] >> 10));
            memcpy(s, state, 32);
            for (t = 0; t < 64; t++) {
                one = s[7] + (ROTATED(s[4], 6) ^ ROTATED(s[4], 11) ^ ROTATED(s[4], 25))
                    + ((s[4] & s[5]) ^ (~s[4] & s[6])) + sha256_constants[t] + w[t];
                two = (ROTATED(s[0], 2) ^ ROTATED(s[0], 13) ^ ROTATED(s[0], 22))
                    + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
                s[7] = s[6]; s[6] = s[5]; s[5] = s[4]; s[4] = s[3] + one;
                s[3] = s[2]; s[2] = s[1]; s[1] = s[0]; s[0] = one + two;
            }
            for (t = 0; t < 8; t++)
                state[t] += s[t];
        }
    }

    static void (*sha256_blocks)(uint32_t *, const uint8_t *, size_t) = sha256_blocks_plain;

    #if defined(__x86_64__) && defined(__GNUC__)
    #include <cpuid.h>
    #include <immintrin.h>

    __attribute__((target("sha,sse4.1,ssse3")))
    static void sha256_blocks_x86(uint32_t *state, const uint8_t *data, size_t blocks)
    {
        const __m128i turn = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
        __m128i abef, cdgh, abef_before, cdgh_before, some, w[4];
        int t;
        some = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
        cdgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);
        abef = _mm_alignr_epi8(some, cdgh, 8);
        cdgh = _mm_blend_epi16(cdgh, some, 0xf0);
        for (; blocks; blocks--, data += 64) {
            abef_before = abef;
            cdgh_before = cdgh;
            for (t = 0; t < 4; t++)
                w[t] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data + 16 * t)), turn);
            #pragma GCC unroll 16
            for (t = 0; t < 16; t++) {
                some = _mm_add_epi32(w[t & 3], _mm_load_si128((const __m128i *)(sha256_constants + 4 * t)));
                cdgh = _mm_sha256rnds2_epu32(cdgh, abef, some);
                abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(some, 0x0e));
                if (t < 12) {
                    some = _mm_sha256msg1_epu32(w[t & 3], w[(t + 1) & 3]);
                    some = _mm_add_epi32(some, _mm_alignr_epi8(w[(t + 3) & 3], w[(t + 2) & 3], 4));
                    w[t & 3] = _mm_sha256msg2_epu32(some, w[(t + 3) & 3]);
                }
            }
            abef = _mm_add_epi32(abef, abef_before);
            cdgh = _mm_add_epi32(cdgh, cdgh_before);
        }
        some = _mm_shuffle_epi32(abef, 0x1b);
        cdgh = _mm_shuffle_epi32(cdgh, 0xb1);
        _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(some, cdgh, 0xf0));
        _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(cdgh, some, 8));
    }

    static int sha256_by_processor(void)
    {
        unsigned int a, b, c, d;
        if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & 1u << 19) || !(c & 1u << 9))
            return 0;
        if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & 1u << 29))
            return 0;
        sha256_blocks = sha256_blocks_x86;
        return 1;
    }
    #else
    static int sha256_by_processor(void) { return 0; }
    #endif

    static void sha256_plainly(void) { sha256_blocks = sha256_blocks_plain; }

    /* The digest of two texts, one behind the other; the first has less than 64 bytes. */
    static void sha256(uint8_t *digest, const uint8_t *head, size_t head_size, const uint8_t *data, size_t size)
    {
        uint32_t state[8] = {
            0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
        };
        uint8_t last[128];
        uint64_t bits = (uint64_t)(head_size + size) * 8;
        size_t used = head_size, length, t;
        memcpy(last, head, head_size);
        if (head_size && head_size + size >= 64) {
            memcpy(last + head_size, data, 64 - head_size);
            sha256_blocks(state, last, 1);
            data += 64 - head_size;
            size -= 64 - head_size;
            used = 0;
        }
        if (!used) {
            sha256_blocks(state, data, size / 64);
            data += size / 64 * 64;
            size %= 64;
        }
        if (size)
            memcpy(last + used, data, size);
        used += size;
        length = used < 56 ? 64 : 128;
        memset(last + used, 0, length - used);
        last[used] = 0x80;
        for (t = 0; t < 8; t++)
            last[length - 1 - t] = (uint8_t)(bits >> (8 * t));
        sha256_blocks(state, last, length / 64);
        for (t = 0; t < 8; t++) {
            digest[4 * t] = (uint8_t)(state[t] >> 24);
            digest[4 * t + 1] = (uint8_t)(state[t] >> 16);
            digest[4 * t + 2] = (uint8_t)(state[t] >> 8);
            digest[4 * t + 3] = (uint8_t)state[t];
        }
    }
    """
    const char *HASHING_SOURCE
    int sha256_by_processor() noexcept nogil
    void sha256_plainly() noexcept nogil
    void sha256(
        uint8_t *digest, const uint8_t *head, size_t head_size, const uint8_t *data, size_t size
    ) noexcept nogil

MADE_FROM = HASHING_SOURCE.decode()
BY_PROCESSOR = bool(sha256_by_processor())

ctypedef const uint8_t *Bytes

cdef enum:
    ID = 16
    DIGEST = 32
    SALT = 16
    RECORD = ID + 1 + DIGEST + SALT
    IN_TREE = ID + 1 + DIGEST
    ID_AT = 14
    SHORTEST = ID_AT + ID

cdef struct Text:
    Bytes data
    Py_ssize_t size

cdef Bytes LEAF = <Bytes>b"\x00"
cdef Bytes NODE = <Bytes>b"\x01"


def plainly(bint wanted):
    """Hash without the processor's own instructions, or with them again; for tests."""
    if wanted:
        sha256_plainly()
    else:
        sha256_by_processor()


def digest(bytes head not None, bytes data not None):
    """SHA-256 of two texts, one behind the other; the first has less than 64 bytes."""
    cdef uint8_t found[DIGEST]
    if PyBytes_GET_SIZE(head) >= 64:
        raise ValueError("the first text is too long")
    sha256(
        found,
        <Bytes>PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head),
        <Bytes>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data),
    )
    return PyBytes_FromStringAndSize(<char *>found, DIGEST)


def commit(list entries not None, bytes kinds not None, bytes salts not None):
    """`records.packed`."""
    cdef Py_ssize_t count = len(entries), number
    cdef Bytes letters = <Bytes>PyBytes_AS_STRING(kinds), dice = <Bytes>PyBytes_AS_STRING(salts)
    cdef tuple held = tuple(entries)  # nobody else can take one away while it is hashed
    cdef bytes entry, records
    cdef Text *texts
    cdef uint8_t *to
    if PyBytes_GET_SIZE(kinds) != count or PyBytes_GET_SIZE(salts) != count * SALT:
        raise ValueError("a kind and a salt are needed for each entry")
    texts = <Text *>malloc(max(count, 1) * sizeof(Text))
    if texts == NULL:
        raise MemoryError
    try:
        for number in range(count):
            entry = held[number]
            if entry is None or PyBytes_GET_SIZE(entry) < SHORTEST:
                raise ValueError("an entry has no _id")
            texts[number].data = <Bytes>PyBytes_AS_STRING(entry)
            texts[number].size = PyBytes_GET_SIZE(entry)
        records = PyBytes_FromStringAndSize(NULL, count * RECORD)
        to = <uint8_t *>PyBytes_AS_STRING(records)
        with nogil:
            for number in range(count):
                memcpy(to, texts[number].data + ID_AT, ID)
                to[ID] = letters[number]
                sha256(to + ID + 1, dice, SALT, texts[number].data, texts[number].size)
                memcpy(to + IN_TREE, dice, SALT)
                to += RECORD
                dice += SALT
        return records
    finally:
        free(texts)


def root(bytes records not None):
    """`records.root`."""
    cdef Py_ssize_t count = PyBytes_GET_SIZE(records) // RECORD, number, pairs
    cdef Bytes record = <Bytes>PyBytes_AS_STRING(records)
    cdef uint8_t *level
    if not count or PyBytes_GET_SIZE(records) % RECORD:
        raise ValueError("no records")
    level = <uint8_t *>malloc(count * DIGEST)
    if level == NULL:
        raise MemoryError
    try:
        with nogil:
            for number in range(count):
                sha256(level + number * DIGEST, LEAF, 1, record + number * RECORD, IN_TREE)
            while count > 1:
                pairs = count // 2
                for number in range(pairs):
                    sha256(level + number * DIGEST, NODE, 1, level + number * 2 * DIGEST, 2 * DIGEST)
                if count % 2:
                    memcpy(level + pairs * DIGEST, level + (count - 1) * DIGEST, DIGEST)
                count = pairs + count % 2
        return PyBytes_FromStringAndSize(<char *>level, DIGEST)
    finally:
        free(level)


def bounds(bytes records not None):
    """`records.bounds`."""
    cdef Py_ssize_t count = PyBytes_GET_SIZE(records) // RECORD, _number
    cdef Bytes record = <Bytes>PyBytes_AS_STRING(records), first = record, last = record
    if not count or PyBytes_GET_SIZE(records) % RECORD:
        raise ValueError("no records")
    with nogil:
        for _number in range(1, count):
            record += RECORD
            if memcmp(record, first, ID) < 0:
                first = record
            if memcmp(record, last, ID) > 0:
                last = record
    return PyBytes_FromStringAndSize(<char *>first, ID), PyBytes_FromStringAndSize(<char *>last, ID)
