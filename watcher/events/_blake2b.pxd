"""BLAKE2b with a key: RFC 7693. What comes out is that of `hashlib`, which takes longer to be asked."""

from libc.stdint cimport uint8_t, uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    static const uint64_t blake2b_begin[8] = {
        0x6a09e667f3bcc908ULL, 0xbb67ae8584caa73bULL, 0x3c6ef372fe94f82bULL, 0xa54ff53a5f1d36f1ULL,
        0x510e527fade682d1ULL, 0x9b05688c2b3e6c1fULL, 0x1f83d9abfb41bd6bULL, 0x5be0cd19137e2179ULL};
    static const uint8_t blake2b_order[12][16] = {
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
        {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
        {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
        {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
        {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3}};
    static inline uint64_t blake2b_turned(uint64_t word, int by) { return (word >> by) | (word << (64 - by)); }
    static inline void blake2b_mix(uint64_t *v, int a, int b, int c, int d, uint64_t x, uint64_t y) {
        v[a] += v[b] + x; v[d] = blake2b_turned(v[d] ^ v[a], 32);
        v[c] += v[d]; v[b] = blake2b_turned(v[b] ^ v[c], 24);
        v[a] += v[b] + y; v[d] = blake2b_turned(v[d] ^ v[a], 16);
        v[c] += v[d]; v[b] = blake2b_turned(v[b] ^ v[c], 63);
    }
    static void blake2b_block(uint64_t *h, const uint8_t *block, uint64_t count, int last) {
        uint64_t v[16], m[16];
        int i;
        memcpy(m, block, 128);
        for (i = 0; i < 8; i++) { v[i] = h[i]; v[i + 8] = blake2b_begin[i]; }
        v[12] ^= count;
        if (last) v[14] = ~v[14];
        for (i = 0; i < 12; i++) {
            const uint8_t *s = blake2b_order[i];
            blake2b_mix(v, 0, 4, 8, 12, m[s[0]], m[s[1]]);
            blake2b_mix(v, 1, 5, 9, 13, m[s[2]], m[s[3]]);
            blake2b_mix(v, 2, 6, 10, 14, m[s[4]], m[s[5]]);
            blake2b_mix(v, 3, 7, 11, 15, m[s[6]], m[s[7]]);
            blake2b_mix(v, 0, 5, 10, 15, m[s[8]], m[s[9]]);
            blake2b_mix(v, 1, 6, 11, 12, m[s[10]], m[s[11]]);
            blake2b_mix(v, 2, 7, 8, 13, m[s[12]], m[s[13]]);
            blake2b_mix(v, 3, 4, 9, 14, m[s[14]], m[s[15]]);
        }
        for (i = 0; i < 8; i++) h[i] ^= v[i] ^ v[i + 8];
    }
    static void blake2b_keyed(uint64_t *h, const uint8_t *key, int size, int digest) {
        uint8_t block[128] = {0};
        memcpy(h, blake2b_begin, 64);
        h[0] ^= 0x01010000ULL ^ ((uint64_t)size << 8) ^ (uint64_t)digest;
        memcpy(block, key, size);
        blake2b_block(h, block, 128, 0);
    }
    static void blake2b_of(const uint64_t *keyed, uint8_t first, const uint8_t *data, size_t size, uint8_t *out) {
        uint64_t h[8], count = 128; /* that of the key */
        uint8_t block[128] = {0};
        size_t filled = 1, room;
        memcpy(h, keyed, 64);
        block[0] = first;
        while (size > (room = 128 - filled)) {
            memcpy(block + filled, data, room);
            data += room; size -= room; count += 128; filled = 0;
            blake2b_block(h, block, count, 0);
        }
        memset(block + filled, 0, 128 - filled);
        memcpy(block + filled, data, size);
        blake2b_block(h, block, count + filled + size, 1);
        memcpy(out, h, 16);
    }
    """
    void blake2b_keyed(uint64_t *state, const uint8_t *key, int size, int digest) noexcept nogil
    void blake2b_of(const uint64_t *state, uint8_t first, const uint8_t *data, size_t size, uint8_t *digest) noexcept nogil

cdef enum:
    DIGEST_BYTES = 16
