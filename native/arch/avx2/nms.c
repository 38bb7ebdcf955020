/* NMS with AVX2: a chunk of eight kept boxes at a time, 19 instructions. */
#include "avx2.h"

#ifdef NPUD_AVX2
/* One side may stay negative: then inter ≤ 0, which passes no threshold ≥ 0, as 0 does not. */
NPUD_AVX2 int npud_avx2_overlaps(const npud_pool *pool, const uint32_t *heads, size_t count,
                                 const npud_boxes *boxes, size_t at, float threshold)
{
    const __m256 x1 = _mm256_set1_ps(boxes->x1[at]), y1 = _mm256_set1_ps(boxes->y1[at]);
    const __m256 x2 = _mm256_set1_ps(boxes->x2[at]), y2 = _mm256_set1_ps(boxes->y2[at]);
    const __m256 area = _mm256_set1_ps(boxes->area[at]), limit = _mm256_set1_ps(threshold);
    const __m256 zero = _mm256_setzero_ps();
    for (size_t h = 0; h < count; h++)
        for (uint32_t i = heads[h]; i; i = pool->links[i].next) {
            const npud_chunk *kept = &pool->chunks[i];
            __m256 width = _mm256_sub_ps(_mm256_min_ps(x2, _mm256_load_ps(kept->x2)),
                                         _mm256_max_ps(x1, _mm256_load_ps(kept->x1)));
            __m256 height = _mm256_sub_ps(_mm256_min_ps(y2, _mm256_load_ps(kept->y2)),
                                          _mm256_max_ps(y1, _mm256_load_ps(kept->y1)));
            __m256 inter = _mm256_mul_ps(_mm256_max_ps(width, zero), height);
            __m256 joined =
                _mm256_sub_ps(_mm256_add_ps(area, _mm256_load_ps(kept->area)), inter);
            __m256 over = _mm256_cmp_ps(inter, _mm256_mul_ps(limit, joined), _CMP_GT_OQ);
            if (_mm256_movemask_ps(over))
                return 1;
        }
    return 0;
}
#endif
