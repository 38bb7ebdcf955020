/* Kernels for NEON, which every aarch64 has. */
#ifndef NPUD_NEON_H
#define NPUD_NEON_H

#include "kernels.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#define NPUD_NEON

int npud_neon_overlaps(const npud_pool *pool, const uint32_t *heads, size_t count,
                       const npud_boxes *boxes, size_t at, float threshold);
#endif
#endif
