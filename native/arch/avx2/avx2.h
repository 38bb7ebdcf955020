/* Kernels for AVX2.  Compiled on every x86, used where the CPU has it (dispatch.c). */
#ifndef NPUD_AVX2_H
#define NPUD_AVX2_H

#include "kernels.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#define NPUD_AVX2 __attribute__((target("avx2")))

void npud_avx2_dfl_f32(const npud_dfl_cell *cells, size_t count, float (*distances)[4]);
void npud_avx2_dfl_f16(const npud_dfl_cell *cells, size_t count, float (*distances)[4]);
void npud_avx2_dfl_i8(const npud_dfl_cell *cells, size_t count, float (*distances)[4]);
void npud_avx2_dfl_u8(const npud_dfl_cell *cells, size_t count, float (*distances)[4]);
void npud_avx2_dfl_i16(const npud_dfl_cell *cells, size_t count, float (*distances)[4]);
void npud_avx2_dfl_i32(const npud_dfl_cell *cells, size_t count, float (*distances)[4]);
int npud_avx2_overlaps(const npud_pool *pool, const uint32_t *heads, size_t count,
                       const npud_boxes *boxes, size_t at, float threshold);
#endif
#endif
