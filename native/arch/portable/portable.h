/* The portable kernels that a table of another instruction set may fall back to. */
#ifndef NPUD_PORTABLE_H
#define NPUD_PORTABLE_H

#include "element.h"

void npud_portable_dfl_f32(const npud_dfl_cell *cells, size_t count, float (*distances)[4]);
void npud_portable_dfl_f16(const npud_dfl_cell *cells, size_t count, float (*distances)[4]);
void npud_portable_dfl_i8(const npud_dfl_cell *cells, size_t count, float (*distances)[4]);
void npud_portable_dfl_u8(const npud_dfl_cell *cells, size_t count, float (*distances)[4]);
void npud_portable_dfl_i16(const npud_dfl_cell *cells, size_t count, float (*distances)[4]);
void npud_portable_dfl_i32(const npud_dfl_cell *cells, size_t count, float (*distances)[4]);
int npud_portable_overlaps(const npud_pool *pool, const uint32_t *heads, size_t count,
                           const npud_boxes *boxes, size_t at, float threshold);

#endif
