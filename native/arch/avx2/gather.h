/* npud_gather_* with AVX2; for functions with NPUD_AVX2 only. */
#ifndef NPUD_AVX2_GATHER_H
#define NPUD_AVX2_GATHER_H

#include "../gather.h"
#include "avx2.h"

#ifdef NPUD_AVX2

#define INSERT_4(v, p, i)                                                                          \
    v = _mm_insert_epi8(v, (p)[0], (i));                                                           \
    v = _mm_insert_epi8(v, (p)[stride], (i) + 1);                                                  \
    v = _mm_insert_epi8(v, (p)[2 * stride], (i) + 2);                                              \
    v = _mm_insert_epi8(v, (p)[3 * stride], (i) + 3);                                              \
    (p) += 4 * stride

/* One instruction inserts a byte from memory: 1.3 a value. */
NPUD_AVX2 static inline void npud_avx2_gather_8(void *to, const void *from, size_t stride, size_t count)
{
    const uint8_t *p = from;
    uint8_t *out = to;
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        __m128i v = _mm_setzero_si128();
        INSERT_4(v, p, 0);
        INSERT_4(v, p, 4);
        INSERT_4(v, p, 8);
        INSERT_4(v, p, 12);
        _mm_storeu_si128((__m128i *)(void *)(out + i), v);
    }
    npud_gather_8(out + i, p, stride, count - i);
}
#undef INSERT_4

/* Eight at a time: half an instruction a value. */
NPUD_AVX2 static inline void npud_avx2_gather_32(void *to, const void *from, size_t stride, size_t count)
{
    const int32_t *p = from;
    int32_t *out = to;
    size_t i = 0;
    if (stride <= INT32_MAX / 32) { /* an index of seven strides, in bytes, fits 32 bits */
        const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        const __m256i index = _mm256_mullo_epi32(lanes, _mm256_set1_epi32((int32_t)stride));
        for (; i + 8 <= count; i += 8, p += 8 * stride)
            _mm256_storeu_si256((__m256i *)(void *)(out + i), _mm256_i32gather_epi32(p, index, 4));
    }
    npud_gather_32(out + i, p, stride, count - i);
}
#endif
#endif
