/* npud_gather_* with NEON. */
#ifndef NPUD_NEON_GATHER_H
#define NPUD_NEON_GATHER_H

#include "../gather.h"
#include "neon.h"

#ifdef NPUD_NEON

/* Loads a byte into a lane and moves the pointer on; compilers make two instructions of it. */
#define LOAD_LANE(v, p, i)                                                                         \
    __asm__("ld1 {%0.b}[" #i "], [%1], %2" : "+w"(v), "+r"(p) : "r"(stride), "m"(*(p)))

/* Four vectors side by side, so that in-order cores do not wait for each lane. */
#define LOAD_LANES(i)                                                                              \
    LOAD_LANE(a, pa, i);                                                                           \
    LOAD_LANE(b, pb, i);                                                                           \
    LOAD_LANE(c, pc, i);                                                                           \
    LOAD_LANE(d, pd, i)

static inline void npud_neon_gather_8(void *to, const void *from, size_t stride, size_t count)
{
    const uint8_t *pa = from;
    uint8_t *out = to;
    size_t i = 0;
    for (; i + 64 <= count; i += 64) {
        const uint8_t *pb = pa + 16 * stride, *pc = pb + 16 * stride, *pd = pc + 16 * stride;
        uint8x16_t a = vdupq_n_u8(0), b = a, c = a, d = a;
        LOAD_LANES(0);
        LOAD_LANES(1);
        LOAD_LANES(2);
        LOAD_LANES(3);
        LOAD_LANES(4);
        LOAD_LANES(5);
        LOAD_LANES(6);
        LOAD_LANES(7);
        LOAD_LANES(8);
        LOAD_LANES(9);
        LOAD_LANES(10);
        LOAD_LANES(11);
        LOAD_LANES(12);
        LOAD_LANES(13);
        LOAD_LANES(14);
        LOAD_LANES(15);
        vst1q_u8(out + i, a);
        vst1q_u8(out + i + 16, b);
        vst1q_u8(out + i + 32, c);
        vst1q_u8(out + i + 48, d);
        pa = pd;
    }
    for (; i + 16 <= count; i += 16) {
        uint8x16_t a = vdupq_n_u8(0);
        LOAD_LANE(a, pa, 0);
        LOAD_LANE(a, pa, 1);
        LOAD_LANE(a, pa, 2);
        LOAD_LANE(a, pa, 3);
        LOAD_LANE(a, pa, 4);
        LOAD_LANE(a, pa, 5);
        LOAD_LANE(a, pa, 6);
        LOAD_LANE(a, pa, 7);
        LOAD_LANE(a, pa, 8);
        LOAD_LANE(a, pa, 9);
        LOAD_LANE(a, pa, 10);
        LOAD_LANE(a, pa, 11);
        LOAD_LANE(a, pa, 12);
        LOAD_LANE(a, pa, 13);
        LOAD_LANE(a, pa, 14);
        LOAD_LANE(a, pa, 15);
        vst1q_u8(out + i, a);
    }
    npud_gather_8(out + i, pa, stride, count - i);
}
#undef LOAD_LANES
#undef LOAD_LANE
#endif
#endif
