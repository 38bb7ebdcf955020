/* Whether a box overlaps any that are kept, in portable C. */
#include "portable.h"

static inline float larger(float a, float b) { return a > b ? a : b; }
static inline float smaller(float a, float b) { return a < b ? a : b; }

int npud_portable_overlaps(const npud_box_list *kept, size_t count, const npud_box *box,
                           float threshold)
{
    const npud_box b = *box;
    for (size_t first = 0; first < count; first += NPUD_LANES) {
        int over[NPUD_LANES], any = 0;
        for (size_t k = 0; k < NPUD_LANES; k++) {
            size_t i = first + k;
            float left = larger(kept->x1[i], b.x1), right = smaller(kept->x2[i], b.x2);
            float top = larger(kept->y1[i], b.y1), bottom = smaller(kept->y2[i], b.y2);
            float width = larger(right - left, 0.0f), height = larger(bottom - top, 0.0f);
            float inter = width * height;
            float joined = (b.area + kept->area[i]) - inter;
            over[k] = inter > threshold * joined;
        }
        for (int k = 0; k < NPUD_LANES; k++)
            any |= over[k];
        if (any)
            return 1;
    }
    return 0;
}
