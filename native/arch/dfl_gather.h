/* The bins of a block of cells brought together: cell after cell, channel after channel.  Planes are
 * far apart, so a cell's bins are one cache line each; reading those of all cells first lets the
 * misses overlap, and the vectors that follow do not wait for the single stores. */
#ifndef NPUD_DFL_GATHER_H
#define NPUD_DFL_GATHER_H

#include "element.h"

/* Side by side in the loop are values that do not lie side by side in `room`: else GCC puts bytes
 * together in a register, with three times the instructions. */
#define NPUD_DEFINE_GATHER(TYPE)                                                                   \
    static inline const TYPE *npud_gather_##TYPE(const npud_dfl_cell *cell, TYPE *room)            \
    {                                                                                              \
        const TYPE *left = cell->first;                                                            \
        const size_t stride = cell->channel_stride, bins = (size_t)cell->bins;                     \
        const TYPE *top = left + bins * stride, *right = top + bins * stride;                      \
        const TYPE *bottom = right + bins * stride;                                                \
        if (stride == 1)                                                                           \
            return left;                                                                           \
        for (size_t b = 0, i = 0; b < bins; b++, i += stride) {                                    \
            room[b] = left[i];                                                                     \
            room[bins + b] = top[i];                                                               \
            room[2 * bins + b] = right[i];                                                         \
            room[3 * bins + b] = bottom[i];                                                        \
        }                                                                                          \
        return room;                                                                               \
    }
NPUD_DEFINE_GATHER(uint8_t)
NPUD_DEFINE_GATHER(uint16_t)
#undef NPUD_DEFINE_GATHER

static inline const uint32_t *npud_gather_uint32_t(const npud_dfl_cell *cell, uint32_t *room)
{
    const uint32_t *p = cell->first;
    size_t stride = cell->channel_stride;
    if (stride == 1)
        return p;
    for (int c = 0; c < 4 * cell->bins; c += 4, p += 4 * stride) {
        uint32_t v0 = p[0], v1 = p[stride], v2 = p[2 * stride], v3 = p[3 * stride];
        room[c] = v0, room[c + 1] = v1, room[c + 2] = v2, room[c + 3] = v3;
    }
    return room;
}

/* In a kernel: declares data[i], the channels of cells[i] side by side. */
#define NPUD_GATHER(TYPE) NPUD_GATHER_WITH(npud_gather_##TYPE, TYPE)
#define NPUD_GATHER_WITH(FUNCTION, TYPE)                                                           \
    TYPE room[NPUD_BLOCK * 4 * NPUD_MAX_BINS], *next = room;                                       \
    const void *data[NPUD_BLOCK];                                                                  \
    for (size_t i = 0; i < count; next += 4 * cells[i].bins, i++)                                  \
        data[i] = FUNCTION(&cells[i], next);

/* Whether stored - zero point cannot overflow 32 bits. */
static inline int npud_differences_fit(npud_dtype dtype, const npud_dfl_cell *cell)
{
    size_t channels = cell->quant.step ? 4 * (size_t)cell->bins : 1;
    for (size_t c = 0; c < channels; c++) {
        int32_t zero_point = cell->quant.zero_point[c];
        if (dtype == NPUD_INT32 ? zero_point != 0 : zero_point < -(1 << 30) || zero_point > 1 << 30)
            return 0;
    }
    return 1;
}

static inline int npud_all_differences_fit(npud_dtype dtype, const npud_dfl_cell *cells,
                                           size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const npud_quant *quant = &cells[i].quant;
        int checked = i > 0 && quant->zero_point == cells[i - 1].quant.zero_point &&
                      quant->step == cells[i - 1].quant.step && cells[i].bins == cells[i - 1].bins;
        if (!checked && !npud_differences_fit(dtype, &cells[i]))
            return 0;
    }
    return 1;
}

#endif
