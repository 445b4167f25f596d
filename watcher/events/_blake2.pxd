"""BLAKE2b with a digest of eight bytes, of which the second half of an event's `_id` is made: `hashlib.blake2b` takes half
as long as all the rest of an event. https://www.rfc-editor.org/rfc/rfc7693
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memset

cdef enum:
    BLOCK = 128
    DIGEST = 8
    ROUNDS = 12

cdef extern from *:
    """
    static const unsigned long long BLAKE2B_START[8] = {
        0x6a09e667f3bcc908ULL, 0xbb67ae8584caa73bULL, 0x3c6ef372fe94f82bULL, 0xa54ff53a5f1d36f1ULL,
        0x510e527fade682d1ULL, 0x9b05688c2b3e6c1fULL, 0x1f83d9abfb41bd6bULL, 0x5be0cd19137e2179ULL,
    };
    static const unsigned char BLAKE2B_ORDER[12][16] = {
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
        {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
        {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
        {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
        {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
        {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
        {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
        {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
        {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
        {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
        {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    };
    """
    const uint64_t BLAKE2B_START[8]
    const uint8_t BLAKE2B_ORDER[12][16]


cdef inline uint64_t word_at(const uint8_t *place) noexcept nogil:
    """Eight bytes, the lowest first, on whatever machine."""
    cdef uint64_t word = 0
    cdef int byte
    for byte in range(7, -1, -1):
        word = (word << 8) | place[byte]
    return word


cdef inline uint64_t turned(uint64_t word, int bits) noexcept nogil:
    return (word >> bits) | (word << (64 - bits))


cdef inline void mix(uint64_t *v, int a, int b, int c, int d, uint64_t x, uint64_t y) noexcept nogil:
    v[a] = v[a] + v[b] + x
    v[d] = turned(v[d] ^ v[a], 32)
    v[c] = v[c] + v[d]
    v[b] = turned(v[b] ^ v[c], 24)
    v[a] = v[a] + v[b] + y
    v[d] = turned(v[d] ^ v[a], 16)
    v[c] = v[c] + v[d]
    v[b] = turned(v[b] ^ v[c], 63)


cdef inline void compress(uint64_t *state, const uint8_t *block, uint64_t so_far, bint last) noexcept nogil:
    cdef uint64_t m[16]
    cdef uint64_t v[16]
    cdef const uint8_t *s
    cdef int place
    for place in range(16):
        m[place] = word_at(block + 8 * place)
    for place in range(8):
        v[place], v[place + 8] = state[place], BLAKE2B_START[place]
    v[12] = v[12] ^ so_far  # of 128 bits, the upper ones are nothing
    if last:
        v[14] = ~v[14]
    for place in range(ROUNDS):
        s = BLAKE2B_ORDER[place]
        mix(v, 0, 4, 8, 12, m[s[0]], m[s[1]])
        mix(v, 1, 5, 9, 13, m[s[2]], m[s[3]])
        mix(v, 2, 6, 10, 14, m[s[4]], m[s[5]])
        mix(v, 3, 7, 11, 15, m[s[6]], m[s[7]])
        mix(v, 0, 5, 10, 15, m[s[8]], m[s[9]])
        mix(v, 1, 6, 11, 12, m[s[10]], m[s[11]])
        mix(v, 2, 7, 8, 13, m[s[12]], m[s[13]])
        mix(v, 3, 4, 9, 14, m[s[14]], m[s[15]])
    for place in range(8):
        state[place] = state[place] ^ v[place] ^ v[place + 8]


cdef inline void put_digest(uint8_t *target, const uint8_t *data, Py_ssize_t size) noexcept nogil:
    """Write the eight bytes of the digest of so many bytes."""
    cdef uint64_t state[8]
    cdef uint8_t block[BLOCK]
    cdef Py_ssize_t at = 0
    cdef int byte
    memcpy(state, BLAKE2B_START, sizeof(state))
    state[0] = state[0] ^ 0x01010000 ^ DIGEST  # no key, one sequence
    while size - at > BLOCK:
        compress(state, data + at, <uint64_t>(at + BLOCK), False)
        at += BLOCK
    memset(block, 0, BLOCK)
    memcpy(block, data + at, size - at)
    compress(state, block, <uint64_t>size, True)
    for byte in range(DIGEST):
        target[byte] = <uint8_t>(state[0] >> (8 * byte))
