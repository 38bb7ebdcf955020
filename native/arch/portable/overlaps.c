/* Whether a box overlaps any that are kept, in portable C. */
#include "portable.h"

static inline float larger(float a, float b) { return a > b ? a : b; }
static inline float smaller(float a, float b) { return a < b ? a : b; }

int npud_portable_overlaps(const npud_pool *pool, const uint32_t *heads, size_t count,
                           const npud_boxes *boxes, size_t at, float threshold)
{
    float x1 = boxes->x1[at], y1 = boxes->y1[at], x2 = boxes->x2[at], y2 = boxes->y2[at];
    float area = boxes->area[at];
    for (size_t h = 0; h < count; h++)
        for (uint32_t i = heads[h]; i; i = pool->links[i].next) {
            const npud_chunk *kept = &pool->chunks[i];
            int over[NPUD_LANES], any = 0;
            for (size_t k = 0; k < NPUD_LANES; k++) {
                float left = larger(kept->x1[k], x1), right = smaller(kept->x2[k], x2);
                float top = larger(kept->y1[k], y1), bottom = smaller(kept->y2[k], y2);
                float width = larger(right - left, 0.0f), height = larger(bottom - top, 0.0f);
                float inter = width * height;
                float joined = (area + kept->area[k]) - inter;
                over[k] = inter > threshold * joined;
            }
            for (int k = 0; k < NPUD_LANES; k++)
                any |= over[k];
            if (any)
                return 1;
        }
    return 0;
}
