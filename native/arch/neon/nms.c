/* NMS with NEON: a chunk of eight kept boxes at a time, about 36 instructions. */
#include "neon.h"

#ifdef NPUD_NEON
/* One side may stay negative: then inter ≤ 0, which passes no threshold ≥ 0, as 0 does not. */
static inline uint32x4_t over(const npud_chunk *kept, int lane, float32x4_t x1, float32x4_t y1,
                              float32x4_t x2, float32x4_t y2, float32x4_t area, float32x4_t limit)
{
    float32x4_t width = vsubq_f32(vminq_f32(x2, vld1q_f32(kept->x2 + lane)),
                                  vmaxq_f32(x1, vld1q_f32(kept->x1 + lane)));
    float32x4_t height = vsubq_f32(vminq_f32(y2, vld1q_f32(kept->y2 + lane)),
                                   vmaxq_f32(y1, vld1q_f32(kept->y1 + lane)));
    float32x4_t inter = vmulq_f32(vmaxq_f32(width, vdupq_n_f32(0.0f)), height);
    float32x4_t joined = vsubq_f32(vaddq_f32(area, vld1q_f32(kept->area + lane)), inter);
    return vcgtq_f32(inter, vmulq_f32(limit, joined));
}

int npud_neon_overlaps(const npud_pool *pool, const uint32_t *heads, size_t count,
                       const npud_boxes *boxes, size_t at, float threshold)
{
    const float32x4_t x1 = vdupq_n_f32(boxes->x1[at]), y1 = vdupq_n_f32(boxes->y1[at]);
    const float32x4_t x2 = vdupq_n_f32(boxes->x2[at]), y2 = vdupq_n_f32(boxes->y2[at]);
    const float32x4_t area = vdupq_n_f32(boxes->area[at]), limit = vdupq_n_f32(threshold);
    for (size_t h = 0; h < count; h++)
        for (uint32_t i = heads[h]; i; i = pool->links[i].next) {
            const npud_chunk *kept = &pool->chunks[i];
            uint32x4_t low = over(kept, 0, x1, y1, x2, y2, area, limit);
            uint32x4_t high = over(kept, 4, x1, y1, x2, y2, area, limit);
            if (vmaxvq_u32(vorrq_u32(low, high)))
                return 1;
        }
    return 0;
}
#endif
