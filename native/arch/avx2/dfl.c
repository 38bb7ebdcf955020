/* Expected bins of DFL boxes with AVX2, two cells at a time: lane 4 · cell + side, one vector per
 * bin, so that sums run over the bins in the order of the scalar code.  About 300 instructions a
 * cell with exponentials, 110 with a table of them (16 bins). */
#include "avx2.h"

#ifdef NPUD_AVX2
#include "gather.h"
#include "../portable/portable.h"

#define FN NPUD_AVX2 __attribute__((always_inline)) static inline

/* npud_exp_f32 of eight. */
FN __m256 exp_8(__m256 x)
{
    const __m256 shift = _mm256_set1_ps(12582912.0f);
    x = _mm256_max_ps(_mm256_set1_ps(-87.0f), x); /* x where it is NaN */
    __m256 shifted = _mm256_add_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)), shift);
    __m256 n = _mm256_sub_ps(shifted, shift);
    __m256 r = _mm256_sub_ps(x, _mm256_mul_ps(n, _mm256_set1_ps(0.693359375f)));
    r = _mm256_sub_ps(r, _mm256_mul_ps(n, _mm256_set1_ps(-2.12194440e-4f)));
    __m256 p = _mm256_set1_ps(1.9875691500e-4f);
    p = _mm256_add_ps(_mm256_mul_ps(p, r), _mm256_set1_ps(1.3981999507e-3f));
    p = _mm256_add_ps(_mm256_mul_ps(p, r), _mm256_set1_ps(8.3334519073e-3f));
    p = _mm256_add_ps(_mm256_mul_ps(p, r), _mm256_set1_ps(4.1665795894e-2f));
    p = _mm256_add_ps(_mm256_mul_ps(p, r), _mm256_set1_ps(1.6666665459e-1f));
    p = _mm256_add_ps(_mm256_mul_ps(p, r), _mm256_set1_ps(5.0000001201e-1f));
    p = _mm256_add_ps(_mm256_mul_ps(p, _mm256_mul_ps(r, r)), r);
    p = _mm256_add_ps(p, _mm256_set1_ps(1.0f));
    __m256i power = _mm256_sub_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(0x4b400000 - 127));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(power, 23)));
}

typedef struct {
    __m256 sum, weighted, bin;
} sums;

FN void add_bin(sums *s, __m256 e)
{
    s->sum = _mm256_add_ps(s->sum, e);
    s->weighted = _mm256_add_ps(s->weighted, _mm256_mul_ps(e, s->bin));
    s->bin = _mm256_add_ps(s->bin, _mm256_set1_ps(1.0f));
}

FN void store_distances(const sums *s, size_t cells, float (*distances)[4])
{
    __m256 result = _mm256_div_ps(s->weighted, s->sum);
    _mm_storeu_ps(distances[0], _mm256_castps256_ps128(result));
    if (cells > 1)
        _mm_storeu_ps(distances[1], _mm256_extractf128_ps(result, 1));
}

/* Rows of four bins become vectors of four sides, in both halves. */
FN void transpose(const __m256 side[4], __m256 bin[4])
{
    __m256 a = _mm256_unpacklo_ps(side[0], side[1]), b = _mm256_unpackhi_ps(side[0], side[1]);
    __m256 c = _mm256_unpacklo_ps(side[2], side[3]), d = _mm256_unpackhi_ps(side[2], side[3]);
    bin[0] = _mm256_shuffle_ps(a, c, 0x44);
    bin[1] = _mm256_shuffle_ps(a, c, 0xee);
    bin[2] = _mm256_shuffle_ps(b, d, 0x44);
    bin[3] = _mm256_shuffle_ps(b, d, 0xee);
}

/* ---- real numbers ---- */

/* npud_half of four. */
FN __m128 reals_of_halves(__m128i halves)
{
    __m128i magnitude = _mm_and_si128(halves, _mm_set1_epi32(0x7fff));
    __m128i sign = _mm_slli_epi32(_mm_xor_si128(halves, magnitude), 16);
    __m128i special = _mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x7bff));
    __m128i offset = _mm_set1_epi32(112 << 23);
    offset = _mm_add_epi32(offset, _mm_and_si128(special, offset));
    __m128i normal = _mm_add_epi32(_mm_slli_epi32(magnitude, 13), offset);
    __m128 tiny = _mm_mul_ps(_mm_cvtepi32_ps(magnitude), _mm_set1_ps(5.9604644775390625e-8f));
    __m128i is_tiny = _mm_cmpgt_epi32(_mm_set1_epi32(0x400), magnitude);
    __m128 value = _mm_blendv_ps(_mm_castsi128_ps(normal), tiny, _mm_castsi128_ps(is_tiny));
    return _mm_or_ps(value, _mm_castsi128_ps(sign));
}

FN __m128i load_32(const void *p)
{
    int32_t bits;
    memcpy(&bits, p, sizeof bits);
    return _mm_cvtsi32_si128(bits);
}

FN __m128i load_64(const void *p) { return _mm_loadl_epi64((const __m128i *)p); }

/* Four neighbouring channels as real numbers. */
FN __m128 load_4(npud_dtype dtype, const void *data, size_t channel, const npud_quant *quant)
{
    __m128i stored;
    if (dtype == NPUD_FLOAT32)
        return _mm_loadu_ps((const float *)data + channel);
    if (dtype == NPUD_FLOAT16)
        return reals_of_halves(
            _mm_cvtepu16_epi32(load_64((const uint16_t *)data + channel)));
    if (dtype == NPUD_INT8)
        stored = _mm_cvtepi8_epi32(load_32((const int8_t *)data + channel));
    else if (dtype == NPUD_UINT8)
        stored = _mm_cvtepu8_epi32(load_32((const uint8_t *)data + channel));
    else if (dtype == NPUD_INT16)
        stored = _mm_cvtepi16_epi32(load_64((const int16_t *)data + channel));
    else
        stored = _mm_loadu_si128((const __m128i *)(const void *)((const int32_t *)data + channel));
    __m128i zero_point = quant->step ? _mm_loadu_si128((const __m128i *)(const void *)(quant->zero_point + channel))
                                     : _mm_set1_epi32(quant->zero_point[0]);
    __m128 scale = quant->step ? _mm_loadu_ps(quant->scale + channel) : _mm_set1_ps(quant->scale[0]);
    return _mm_mul_ps(_mm_cvtepi32_ps(_mm_sub_epi32(stored, zero_point)), scale);
}

FN __m256 two_cells(__m128 a, __m128 b) { return _mm256_insertf128_ps(_mm256_castps128_ps256(a), b, 1); }

/* x[b]: bin b of all sides of both cells. */
FN void load_bins(npud_dtype dtype, const void *const data[2], const npud_quant *const quant[2],
                  int bins, __m256 *x)
{
    int b = 0;
    for (; b + 4 <= bins; b += 4) {
        __m256 side[4];
        for (int k = 0; k < 4; k++) {
            size_t channel = (size_t)(k * bins + b);
            side[k] = two_cells(load_4(dtype, data[0], channel, quant[0]),
                                load_4(dtype, data[1], channel, quant[1]));
        }
        transpose(side, x + b);
    }
    for (; b < bins; b++) {
        float lanes[8];
        for (int k = 0; k < 8; k++) {
            size_t channel = (size_t)((k & 3) * bins + b);
            lanes[k] = npud_real(dtype, quant[k >> 2], data[k >> 2], channel, channel);
        }
        x[b] = _mm256_loadu_ps(lanes);
    }
}

FN void weigh(const __m256 *x, int bins, size_t cells, float (*distances)[4])
{
    sums s = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    __m256 top = x[0];
    for (int b = 1; b < bins; b++)
        top = _mm256_max_ps(top, x[b]);
    for (int b = 0; b < bins; b++)
        add_bin(&s, exp_8(_mm256_sub_ps(x[b], top)));
    store_distances(&s, cells, distances);
}

/* data[i]: the channels of cell i side by side. */
FN void from_reals(npud_dtype dtype, const npud_dfl_cell *cells, const void *const *data,
                   size_t count, float (*distances)[4])
{
    __m256 x[NPUD_MAX_BINS];
    size_t done = 0;
    while (done < count) {
        const npud_dfl_cell *cell = &cells[done];
        size_t both = count - done > 1 && cell[1].bins == cell->bins;
        const void *const pair[2] = {data[done], data[done + both]};
        const npud_quant *const quant[2] = {&cell->quant, &cell[both].quant};
        load_bins(dtype, pair, quant, cell->bins, x);
        weigh(x, cell->bins, 1 + both, distances + done);
        done += 1 + both;
    }
}

/* ---- bytes with a table of exponentials ---- */

enum { TABLE_BINS = 16 };

FN __m256i load_side(const void *const data[2], int side)
{
    const __m128i *a = (const __m128i *)data[0] + side, *b = (const __m128i *)data[1] + side;
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(a)), _mm_loadu_si128(b), 1);
}

FN __m256i larger_bytes(npud_dtype dtype, __m256i a, __m256i b)
{
    return dtype == NPUD_INT8 ? _mm256_max_epi8(a, b) : _mm256_max_epu8(a, b);
}

/* rows[j]: max q - q of the bins 4j … 4j + 3, four sides each, for both cells. */
FN void differences(npud_dtype dtype, const void *const data[2], __m256i rows[4])
{
    __m256i l = load_side(data, 0), t = load_side(data, 1);
    __m256i r = load_side(data, 2), b = load_side(data, 3);
    __m256i lr = _mm256_unpacklo_epi8(l, r), tb = _mm256_unpacklo_epi8(t, b);
    rows[0] = _mm256_unpacklo_epi8(lr, tb);
    rows[1] = _mm256_unpackhi_epi8(lr, tb);
    lr = _mm256_unpackhi_epi8(l, r), tb = _mm256_unpackhi_epi8(t, b);
    rows[2] = _mm256_unpacklo_epi8(lr, tb);
    rows[3] = _mm256_unpackhi_epi8(lr, tb);
    __m256i top = larger_bytes(dtype, larger_bytes(dtype, rows[0], rows[1]),
                               larger_bytes(dtype, rows[2], rows[3]));
    top = larger_bytes(dtype, top, _mm256_shuffle_epi32(top, 0x4e));
    top = larger_bytes(dtype, top, _mm256_shuffle_epi32(top, 0xb1));
    for (int j = 0; j < 4; j++)
        rows[j] = _mm256_sub_epi8(top, rows[j]);
}

/* The second cell's table may be another (of another level): `apart` elements away. */
FN void from_table_16(npud_dtype dtype, const void *const data[2], const float *table, int32_t apart,
                      size_t cells, float (*distances)[4])
{
    /* The four bytes of one bin, each to a lane of its own. */
    const __m256i first = _mm256_setr_epi8(0, -1, -1, -1, 1, -1, -1, -1, 2, -1, -1, -1, 3, -1, -1, -1,
                                           0, -1, -1, -1, 1, -1, -1, -1, 2, -1, -1, -1, 3, -1, -1, -1);
    const __m256i next = _mm256_set1_epi32(4);
    const __m256i offset = _mm256_setr_epi32(0, 0, 0, 0, apart, apart, apart, apart);
    sums s = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    __m256i rows[4];
    differences(dtype, data, rows);
    for (int j = 0; j < 4; j++) {
        __m256i lanes = first;
        for (int b = 0; b < 4; b++, lanes = _mm256_add_epi32(lanes, next)) {
            __m256i index = _mm256_add_epi32(_mm256_shuffle_epi8(rows[j], lanes), offset);
            add_bin(&s, _mm256_i32gather_ps(table, index, 4));
        }
    }
    store_distances(&s, cells, distances);
}

/* Elements from a's table to b's, if a gather's index can bridge them. */
FN int tables_apart(const npud_dfl_cell *a, const npud_dfl_cell *b, int32_t *elements)
{
    intptr_t bytes = (intptr_t)((uintptr_t)b->quant.exp - (uintptr_t)a->quant.exp);
    *elements = (int32_t)(bytes / (intptr_t)sizeof(float));
    return bytes % (intptr_t)sizeof(float) == 0 && bytes / 8 < INT32_MAX && bytes / 8 > -INT32_MAX;
}

FN int has_table_16(const npud_dfl_cell *cell)
{
    return cell->quant.exp && cell->bins == TABLE_BINS;
}

FN void from_bytes(npud_dtype dtype, const npud_dfl_cell *cells, const void *const *data,
                   size_t count, float (*distances)[4], npud_dfl_kernel portable)
{
    size_t done = 0;
    while (done < count) {
        const npud_dfl_cell *cell = &cells[done];
        int32_t apart = 0;
        size_t both = count - done > 1 && has_table_16(&cell[1]);
        if (has_table_16(cell)) {
            both = both && tables_apart(cell, &cell[1], &apart);
            const void *const pair[2] = {data[done], data[done + both]};
            from_table_16(dtype, pair, cell->quant.exp, both ? apart : 0, 1 + both,
                          distances + done);
            done += 1 + both;
        } else {
            if (cell->quant.exp || !cell->differences_fit)
                portable(cell, 1, distances + done);
            else
                from_reals(dtype, cell, data + done, 1, distances + done);
            done++;
        }
    }
}

/* ---- the kernels ---- */

NPUD_AVX2 void npud_avx2_dfl_f32(const npud_dfl_cell *cells, size_t count, float (*distances)[4])
{
    NPUD_GATHER_CELLS(npud_avx2_gather_32, uint32_t)
    from_reals(NPUD_FLOAT32, cells, data, count, distances);
}

NPUD_AVX2 void npud_avx2_dfl_f16(const npud_dfl_cell *cells, size_t count, float (*distances)[4])
{
    NPUD_GATHER_CELLS(npud_gather_16, uint16_t)
    from_reals(NPUD_FLOAT16, cells, data, count, distances);
}

NPUD_AVX2 void npud_avx2_dfl_i8(const npud_dfl_cell *cells, size_t count, float (*distances)[4])
{
    NPUD_GATHER_CELLS(npud_avx2_gather_8, uint8_t)
    from_bytes(NPUD_INT8, cells, data, count, distances, npud_portable_dfl_i8);
}

NPUD_AVX2 void npud_avx2_dfl_u8(const npud_dfl_cell *cells, size_t count, float (*distances)[4])
{
    NPUD_GATHER_CELLS(npud_avx2_gather_8, uint8_t)
    from_bytes(NPUD_UINT8, cells, data, count, distances, npud_portable_dfl_u8);
}

NPUD_AVX2 void npud_avx2_dfl_i16(const npud_dfl_cell *cells, size_t count, float (*distances)[4])
{
    NPUD_GATHER_CELLS(npud_gather_16, uint16_t)
    if (npud_all_differences_fit(cells, count))
        from_reals(NPUD_INT16, cells, data, count, distances);
    else
        npud_portable_dfl_i16(cells, count, distances);
}

NPUD_AVX2 void npud_avx2_dfl_i32(const npud_dfl_cell *cells, size_t count, float (*distances)[4])
{
    NPUD_GATHER_CELLS(npud_avx2_gather_32, uint32_t)
    if (npud_all_differences_fit(cells, count))
        from_reals(NPUD_INT32, cells, data, count, distances);
    else
        npud_portable_dfl_i32(cells, count, distances);
}
#endif
