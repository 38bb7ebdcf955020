/* Values that lie apart (a cell's channels in planes) brought together. */
#ifndef NPUD_GATHER_H
#define NPUD_GATHER_H

#include "element.h"

/* to[i] = from[i * stride], i < count: portable; 2.5 to 3.3 instructions a value. */

/* Neighbours of four quarters at a time, because GCC puts four neighbouring bytes together in a
 * register before it stores them, with three times the instructions. */
#define NPUD_DEFINE_GATHER(NAME, TYPE)                                                             \
    static inline void NAME(void *to, const void *from, size_t stride, size_t count)               \
    {                                                                                              \
        TYPE *out = to;                                                                            \
        const TYPE *p = from;                                                                      \
        const size_t quarter = count / 4, jump = quarter * stride;                                 \
        for (size_t i = 0; i < quarter; i++, p += stride) {                                        \
            out[i] = p[0];                                                                         \
            out[quarter + i] = p[jump];                                                            \
            out[2 * quarter + i] = p[2 * jump];                                                    \
            out[3 * quarter + i] = p[3 * jump];                                                    \
        }                                                                                          \
        for (size_t i = 4 * quarter; i < count; i++)                                               \
            out[i] = ((const TYPE *)from)[i * stride];                                             \
    }
NPUD_DEFINE_GATHER(npud_gather_8, uint8_t)
NPUD_DEFINE_GATHER(npud_gather_16, uint16_t)
#undef NPUD_DEFINE_GATHER

static inline void npud_gather_32(void *to, const void *from, size_t stride, size_t count)
{
    uint32_t *out = to;
    const uint32_t *p = from;
    size_t i = 0;
    for (; i + 4 <= count; i += 4, p += 4 * stride) {
        uint32_t v0 = p[0], v1 = p[stride], v2 = p[2 * stride], v3 = p[3 * stride];
        out[i] = v0, out[i + 1] = v1, out[i + 2] = v2, out[i + 3] = v3;
    }
    for (; i < count; i++, p += stride)
        out[i] = *p;
}

/* In a DFL kernel: declares data[i], the channels of cells[i] side by side.  Planes are far apart,
 * each value a cache line of its own: reading those of all cells first lets the misses overlap, and
 * the vectors that follow do not wait for single stores. */
#define NPUD_GATHER_CELLS(GATHER, TYPE)                                                            \
    TYPE room[NPUD_BLOCK * 4 * NPUD_MAX_BINS], *next = room;                                       \
    const void *data[NPUD_BLOCK];                                                                  \
    for (size_t i = 0; i < count; i++) {                                                           \
        const size_t channels = 4 * (size_t)cells[i].bins;                                         \
        data[i] = cells[i].first;                                                                  \
        if (cells[i].channel_stride == 1)                                                          \
            continue;                                                                              \
        GATHER(next, cells[i].first, cells[i].channel_stride, channels);                           \
        data[i] = next;                                                                            \
        next += channels;                                                                          \
    }

/* Whether stored - zero point cannot overflow 32 bits. */
static inline int npud_all_differences_fit(const npud_dfl_cell *cells, size_t count)
{
    int fit = 1;
    for (size_t i = 0; i < count; i++)
        fit &= cells[i].differences_fit;
    return fit;
}

#endif
