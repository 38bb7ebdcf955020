/* Expected bins of DFL boxes with NEON, a cell at a time: a lane per side, a vector per bin, so that
 * sums run over the bins in the order of the scalar code.  Exponentials of four bins at a time, so
 * that in-order cores have something to do between the steps of one.  About 500 instructions a cell
 * with exponentials, 300 with a table of them (16 bins). */
#include "neon.h"

#ifdef NPUD_NEON
#include "gather.h"
#include "../portable/portable.h"

#define FN __attribute__((always_inline)) static inline

enum { AT_ONCE = 4 };

/* v = v * factor + addend, each rounded; written out for AT_ONCE vectors side by side. */
#define EACH(k) for (int k = 0; k < AT_ONCE; k++)

/* npud_exp_f32 of all lanes of four vectors. */
FN void exp_4x4(float32x4_t x[AT_ONCE])
{
    const float32x4_t shift = vdupq_n_f32(12582912.0f);
    static const float factors[] = {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f,
                                    1.6666665459e-1f, 5.0000001201e-1f};
    float32x4_t shifted[AT_ONCE], n[AT_ONCE], r[AT_ONCE], p[AT_ONCE];
    EACH(k) x[k] = vmaxq_f32(x[k], vdupq_n_f32(-87.0f)); /* NaN stays NaN */
    EACH(k) shifted[k] = vaddq_f32(vmulq_f32(x[k], vdupq_n_f32(1.44269504f)), shift);
    EACH(k) n[k] = vsubq_f32(shifted[k], shift);
    EACH(k) r[k] = vsubq_f32(x[k], vmulq_f32(n[k], vdupq_n_f32(0.693359375f)));
    EACH(k) r[k] = vsubq_f32(r[k], vmulq_f32(n[k], vdupq_n_f32(-2.12194440e-4f)));
    EACH(k) p[k] = vdupq_n_f32(1.9875691500e-4f);
    for (int i = 0; i < 5; i++)
        EACH(k) p[k] = vaddq_f32(vmulq_f32(p[k], r[k]), vdupq_n_f32(factors[i]));
    EACH(k) p[k] = vaddq_f32(vmulq_f32(p[k], vmulq_f32(r[k], r[k])), r[k]);
    EACH(k) p[k] = vaddq_f32(p[k], vdupq_n_f32(1.0f));
    EACH(k)
    {
        int32x4_t power = vsubq_s32(vreinterpretq_s32_f32(shifted[k]), vdupq_n_s32(0x4b400000 - 127));
        x[k] = vmulq_f32(p[k], vreinterpretq_f32_s32(vshlq_n_s32(power, 23)));
    }
}

typedef struct {
    float32x4_t sum, weighted, bin;
} sums;

FN sums no_sums(void)
{
    return (sums){vdupq_n_f32(0.0f), vdupq_n_f32(0.0f), vdupq_n_f32(0.0f)};
}

FN void add_bin(sums *s, float32x4_t e)
{
    s->sum = vaddq_f32(s->sum, e);
    s->weighted = vaddq_f32(s->weighted, vmulq_f32(e, s->bin));
    s->bin = vaddq_f32(s->bin, vdupq_n_f32(1.0f));
}

/* ---- real numbers ---- */

/* Four neighbouring channels as real numbers. */
FN float32x4_t load_4(npud_dtype dtype, const void *data, size_t channel, const npud_quant *quant)
{
    int32x4_t stored;
    int32_t bytes;
    if (dtype == NPUD_FLOAT32)
        return vld1q_f32((const float *)data + channel);
    if (dtype == NPUD_FLOAT16)
        return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *)data + channel)));
    memcpy(&bytes, (const uint8_t *)data + channel * npud_itemsize(dtype), sizeof bytes);
    if (dtype == NPUD_INT8)
        stored = vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8((uint32_t)bytes))));
    else if (dtype == NPUD_UINT8)
        stored = vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8((uint32_t)bytes)))));
    else if (dtype == NPUD_INT16)
        stored = vmovl_s16(vld1_s16((const int16_t *)data + channel));
    else
        stored = vld1q_s32((const int32_t *)data + channel);
    int32x4_t zero_point = quant->step ? vld1q_s32(quant->zero_point + channel)
                                       : vdupq_n_s32(quant->zero_point[0]);
    float32x4_t scale = quant->step ? vld1q_f32(quant->scale + channel) : vdupq_n_f32(quant->scale[0]);
    return vmulq_f32(vcvtq_f32_s32(vsubq_s32(stored, zero_point)), scale);
}

/* Rows of four bins become vectors of four sides. */
FN void transpose(const float32x4_t side[4], float32x4_t bin[4])
{
    float64x2_t lt = vreinterpretq_f64_f32(vtrn1q_f32(side[0], side[1]));
    float64x2_t lt_odd = vreinterpretq_f64_f32(vtrn2q_f32(side[0], side[1]));
    float64x2_t rb = vreinterpretq_f64_f32(vtrn1q_f32(side[2], side[3]));
    float64x2_t rb_odd = vreinterpretq_f64_f32(vtrn2q_f32(side[2], side[3]));
    bin[0] = vreinterpretq_f32_f64(vtrn1q_f64(lt, rb));
    bin[1] = vreinterpretq_f32_f64(vtrn1q_f64(lt_odd, rb_odd));
    bin[2] = vreinterpretq_f32_f64(vtrn2q_f64(lt, rb));
    bin[3] = vreinterpretq_f32_f64(vtrn2q_f64(lt_odd, rb_odd));
}

/* x[b]: bin b of all sides. */
FN void load_bins(npud_dtype dtype, const void *data, const npud_quant *quant, int bins,
                  float32x4_t *x)
{
    int b = 0;
    for (; b + 4 <= bins; b += 4) {
        float32x4_t side[4];
        for (int k = 0; k < 4; k++)
            side[k] = load_4(dtype, data, (size_t)(k * bins + b), quant);
        transpose(side, x + b);
    }
    for (; b < bins; b++) {
        float lanes[4];
        for (int k = 0; k < 4; k++) {
            size_t channel = (size_t)(k * bins + b);
            lanes[k] = npud_real(dtype, quant, data, channel, channel);
        }
        x[b] = vld1q_f32(lanes);
    }
}

FN void weigh(float32x4_t *x, int bins, float *distances)
{
    sums s = no_sums();
    float32x4_t top = x[0];
    for (int b = 1; b < bins; b++)
        top = vmaxq_f32(top, x[b]);
    int b = 0;
    for (; b + AT_ONCE <= bins; b += AT_ONCE) {
        float32x4_t e[AT_ONCE];
        EACH(k) e[k] = vsubq_f32(x[b + k], top);
        exp_4x4(e);
        EACH(k) add_bin(&s, e[k]);
    }
    if (b < bins) {
        float32x4_t e[AT_ONCE];
        EACH(k) e[k] = vsubq_f32(x[b + k < bins ? b + k : b], top);
        exp_4x4(e);
        for (int k = 0; b + k < bins; k++)
            add_bin(&s, e[k]);
    }
    vst1q_f32(distances, vdivq_f32(s.weighted, s.sum));
}

/* data[i]: the channels of cell i side by side. */
FN void from_reals(npud_dtype dtype, const npud_dfl_cell *cells, const void *const *data,
                   size_t count, float (*distances)[4])
{
    float32x4_t x[NPUD_MAX_BINS];
    for (size_t i = 0; i < count; i++) {
        load_bins(dtype, data[i], &cells[i].quant, cells[i].bins, x);
        weigh(x, cells[i].bins, distances[i]);
    }
}

/* ---- bytes with a table of exponentials ---- */

enum { TABLE_BINS = 16 };

/* max q - q of a side. */
FN uint8x16_t differences(npud_dtype dtype, const uint8_t *side)
{
    uint8x16_t q = vld1q_u8(side);
    uint8x16_t top = vdupq_n_u8(dtype == NPUD_INT8 ? (uint8_t)vmaxvq_s8(vreinterpretq_s8_u8(q))
                                                   : vmaxvq_u8(q));
    return vsubq_u8(top, q);
}

/* Bin `bin` of all sides; a multiplication by a lane needs no vector of it. */
FN void add_entries(sums *s, const float *table, const uint8_t *index, float bin)
{
    float32x4_t e; /* the first lane: compilers make three instructions of it */
    __asm__("ldr %s0, [%1, %2, lsl #2]"
            : "=w"(e)
            : "r"(table), "r"((uint64_t)index[0]), "m"(table[index[0]]));
    e = vld1q_lane_f32(table + index[TABLE_BINS], e, 1);
    e = vld1q_lane_f32(table + index[2 * TABLE_BINS], e, 2);
    e = vld1q_lane_f32(table + index[3 * TABLE_BINS], e, 3);
    s->sum = vaddq_f32(s->sum, e);
    s->weighted = vaddq_f32(s->weighted, vmulq_n_f32(e, bin));
}

FN void from_table_16(npud_dtype dtype, const uint8_t *data, const float *table, float *distances)
{
    static const float first[] = {0.0f, 1.0f, 2.0f, 3.0f};
    uint8_t index[4 * TABLE_BINS];
    sums s = {vdupq_n_f32(0.0f), vdupq_n_f32(0.0f), vld1q_f32(first)};
    for (int k = 0; k < 4; k++)
        vst1q_u8(index + k * TABLE_BINS, differences(dtype, data + k * TABLE_BINS));
    for (int b = 0; b < TABLE_BINS; b += 4) {
        add_entries(&s, table, index + b, vgetq_lane_f32(s.bin, 0));
        add_entries(&s, table, index + b + 1, vgetq_lane_f32(s.bin, 1));
        add_entries(&s, table, index + b + 2, vgetq_lane_f32(s.bin, 2));
        add_entries(&s, table, index + b + 3, vgetq_lane_f32(s.bin, 3));
        s.bin = vaddq_f32(s.bin, vdupq_n_f32(4.0f));
    }
    vst1q_f32(distances, vdivq_f32(s.weighted, s.sum));
}

FN void from_bytes(npud_dtype dtype, const npud_dfl_cell *cells, const void *const *data,
                   size_t count, float (*distances)[4], npud_dfl_kernel portable)
{
    for (size_t i = 0; i < count; i++)
        if (cells[i].quant.exp && cells[i].bins == TABLE_BINS)
            from_table_16(dtype, data[i], cells[i].quant.exp, distances[i]);
        else if (cells[i].quant.exp || !cells[i].differences_fit)
            portable(&cells[i], 1, distances + i);
        else
            from_reals(dtype, &cells[i], data + i, 1, distances + i);
}

/* ---- the kernels ---- */

void npud_neon_dfl_f32(const npud_dfl_cell *cells, size_t count, float (*distances)[4])
{
    NPUD_GATHER_CELLS(npud_gather_32, uint32_t)
    from_reals(NPUD_FLOAT32, cells, data, count, distances);
}

void npud_neon_dfl_f16(const npud_dfl_cell *cells, size_t count, float (*distances)[4])
{
    NPUD_GATHER_CELLS(npud_gather_16, uint16_t)
    from_reals(NPUD_FLOAT16, cells, data, count, distances);
}

void npud_neon_dfl_i8(const npud_dfl_cell *cells, size_t count, float (*distances)[4])
{
    NPUD_GATHER_CELLS(npud_neon_gather_8, uint8_t)
    from_bytes(NPUD_INT8, cells, data, count, distances, npud_portable_dfl_i8);
}

void npud_neon_dfl_u8(const npud_dfl_cell *cells, size_t count, float (*distances)[4])
{
    NPUD_GATHER_CELLS(npud_neon_gather_8, uint8_t)
    from_bytes(NPUD_UINT8, cells, data, count, distances, npud_portable_dfl_u8);
}

void npud_neon_dfl_i16(const npud_dfl_cell *cells, size_t count, float (*distances)[4])
{
    NPUD_GATHER_CELLS(npud_gather_16, uint16_t)
    if (npud_all_differences_fit(cells, count))
        from_reals(NPUD_INT16, cells, data, count, distances);
    else
        npud_portable_dfl_i16(cells, count, distances);
}

void npud_neon_dfl_i32(const npud_dfl_cell *cells, size_t count, float (*distances)[4])
{
    NPUD_GATHER_CELLS(npud_gather_32, uint32_t)
    if (npud_all_differences_fit(cells, count))
        from_reals(NPUD_INT32, cells, data, count, distances);
    else
        npud_portable_dfl_i32(cells, count, distances);
}
#endif
