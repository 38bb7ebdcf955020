/* The bins of a block of cells brought together: cell after cell, channel after channel.  Planes are
 * far apart, so a cell's bins are one cache line each; reading those of all cells first lets the
 * misses overlap, and the vectors that follow do not wait for the single stores. */
#ifndef NPUD_DFL_GATHER_H
#define NPUD_DFL_GATHER_H

#include "element.h"

#define NPUD_DEFINE_GATHER(TYPE)                                                                   \
    static inline const TYPE *npud_gather_##TYPE(const npud_dfl_cell *cell, TYPE *room)            \
    {                                                                                              \
        const TYPE *p = cell->first;                                                               \
        size_t stride = cell->channel_stride;                                                      \
        if (stride == 1)                                                                           \
            return p;                                                                              \
        for (int c = 0; c < 4 * cell->bins; c += 4, p += 4 * stride) {                             \
            TYPE v0 = p[0], v1 = p[stride], v2 = p[2 * stride], v3 = p[3 * stride];                \
            room[c] = v0, room[c + 1] = v1, room[c + 2] = v2, room[c + 3] = v3;                    \
        }                                                                                          \
        return room;                                                                               \
    }
NPUD_DEFINE_GATHER(uint8_t)
NPUD_DEFINE_GATHER(uint16_t)
NPUD_DEFINE_GATHER(uint32_t)
#undef NPUD_DEFINE_GATHER

#endif
