/* The kernels with NEON.  Bytes are picked from 16 to 256 neighbouring ones by table look-ups. */
#include "scalar.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#define FN __attribute__((always_inline)) static inline

/* ---- along a row ---- */

/* A group: positions from base on, and 16 · weight.  Where taps->halves, `left` has (left, right) of
 * the first eight bytes and `right` of the last. */
typedef struct {
    uint8_t left[16], right[16];
    int16_t weight[16];
} packed_group;

static size_t pack(const npud_taps *taps, uint8_t *to)
{
    packed_group *groups = (packed_group *)(void *)to;
    for (size_t g = 0; to && g < taps->groups; g++)
        for (size_t k = 0; k < NPUD_GROUP; k++) {
            const npud_spot spot = taps->spots[g];
            size_t j = spot.start + k;
            uint8_t left = (uint8_t)(taps->left[j] - spot.base);
            uint8_t right = (uint8_t)(taps->right[j] - spot.base);
            uint8_t *pairs = k < 8 ? groups[g].left : groups[g].right;
            if (taps->halves) {
                pairs[k % 8 * 2] = left;
                pairs[k % 8 * 2 + 1] = right;
                continue;
            }
            groups[g].left[k] = left;
            groups[g].right[k] = right;
            groups[g].weight[k] = (int16_t)(taps->weight[j] * 16);
        }
    return taps->groups * sizeof *groups;
}

/* Up to 64 bytes from p on, looked up at `count` places each; positions beyond them give 0. */
FN void look_up(const uint8_t *p, const int windows, const uint8x16_t *at, uint8x16_t *out,
                const int count)
{
    if (windows == 1) {
        const uint8x16_t t = vld1q_u8(p);
        for (int i = 0; i < count; i++)
            out[i] = vqtbl1q_u8(t, at[i]);
    } else if (windows == 2) {
        const uint8x16x2_t t = vld1q_u8_x2(p);
        for (int i = 0; i < count; i++)
            out[i] = vqtbl2q_u8(t, at[i]);
    } else if (windows == 3) {
        const uint8x16x3_t t = vld1q_u8_x3(p);
        for (int i = 0; i < count; i++)
            out[i] = vqtbl3q_u8(t, at[i]);
    } else {
        const uint8x16x4_t t = {
            {vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)}};
        for (int i = 0; i < count; i++)
            out[i] = vqtbl4q_u8(t, at[i]);
    }
}

FN void pick_at(const uint8_t *p, const int windows, const uint8x16_t *at, uint8x16_t *out,
                const int count)
{
    uint8x16_t later[2], found[2];
    look_up(p, windows, at, out, count);
    for (int w = 4; w < windows; w += 4) {
        for (int i = 0; i < count; i++)
            later[i] = vsubq_u8(at[i], vdupq_n_u8((uint8_t)(16 * w)));
        look_up(p + 16 * w, windows - w, later, found, count);
        for (int i = 0; i < count; i++)
            out[i] = vorrq_u8(out[i], found[i]);
    }
}

FN void pick_n(const npud_taps *taps, const uint8_t *row, uint8_t *out, const int windows)
{
    const packed_group *group = taps->packed;
    const npud_spot *spot = taps->spots, *end = spot + taps->groups;
    for (; spot < end; spot++, group++) {
        const uint8x16_t at = vld1q_u8(group->left);
        uint8x16_t found;
        pick_at(row + spot->base, windows, &at, &found, 1);
        vst1q_u8(out + spot->start, found);
    }
}

/* 128 · left + floor((right - left) · a / 16), of eight; sqdmulh doubles, and rounds down. */
FN int16x8_t eight(uint8x8_t left, uint8x8_t right, const int16_t *weight)
{
    int16x8_t difference = vreinterpretq_s16_u16(vsubl_u8(right, left));
    int16x8_t part = vqdmulhq_s16(vshlq_n_s16(difference, 7), vld1q_s16(weight));
    return vaddq_s16(vreinterpretq_s16_u16(vshll_n_u8(left, 7)), part);
}

FN void along_n(const npud_taps *taps, const uint8_t *row, int16_t *out, const int windows)
{
    const packed_group *group = taps->packed;
    const npud_spot *spot = taps->spots, *end = spot + taps->groups;
    for (; spot < end; spot++, group++) {
        const uint8x16_t at[2] = {vld1q_u8(group->left), vld1q_u8(group->right)};
        uint8x16_t s[2];
        pick_at(row + spot->base, windows, at, s, 2);
        int16_t *to = out + spot->start;
        vst1q_s16(to, eight(vget_low_u8(s[0]), vget_low_u8(s[1]), group->weight));
        vst1q_s16(to + 8, eight(vget_high_u8(s[0]), vget_high_u8(s[1]), group->weight + 8));
    }
}

FN void halve_n(const npud_taps *taps, const uint8_t *row, int16_t *out, const int windows)
{
    const packed_group *group = taps->packed;
    const npud_spot *spot = taps->spots, *end = spot + taps->groups;
    for (; spot < end; spot++, group++) {
        const uint8x16_t at[2] = {vld1q_u8(group->left), vld1q_u8(group->right)};
        uint8x16_t pairs[2];
        pick_at(row + spot->base, windows, at, pairs, 2);
        int16_t *to = out + spot->start;
        uint16x8_t low = vpaddlq_u8(pairs[0]), high = vpaddlq_u8(pairs[1]);
        vst1q_s16(to, vreinterpretq_s16_u16(vshlq_n_u16(low, 6)));
        vst1q_s16(to + 8, vreinterpretq_s16_u16(vshlq_n_u16(high, 6)));
    }
}

FN void mean_n(const npud_taps *taps, const uint8_t *first, const uint8_t *second, uint8_t *out,
               const int windows)
{
    const packed_group *group = taps->packed;
    const npud_spot *spot = taps->spots, *end = spot + taps->groups;
    for (; spot < end; spot++, group++) {
        const uint8x16_t at[2] = {vld1q_u8(group->left), vld1q_u8(group->right)};
        uint8x16_t upper[2], lower[2];
        pick_at(first + spot->base, windows, at, upper, 2);
        pick_at(second + spot->base, windows, at, lower, 2);
        uint16x8_t low = vpadalq_u8(vpaddlq_u8(upper[0]), lower[0]);
        uint16x8_t high = vpadalq_u8(vpaddlq_u8(upper[1]), lower[1]);
        vst1q_u8(out + spot->start, vrshrn_high_n_u16(vrshrn_n_u16(low, 2), high, 2));
    }
}

/* One function per number of windows. */
#define EACH(DO)                                                                                   \
    DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8)                                                \
    DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15) DO(16)
#define DEFINE(n)                                                                                  \
    static void pick_##n(const npud_taps *taps, const uint8_t *row, uint8_t *out)                  \
    {                                                                                              \
        pick_n(taps, row, out, n);                                                                 \
    }                                                                                              \
    static void along_##n(const npud_taps *taps, const uint8_t *row, int16_t *out)          \
    {                                                                                              \
        if (taps->halves)                                                                          \
            halve_n(taps, row, out, n);                                                            \
        else                                                                                       \
            along_n(taps, row, out, n);                                                            \
    }                                                                                              \
    static void mean_##n(const npud_taps *taps, const uint8_t *first, const uint8_t *second, \
                         uint8_t *out)                                                             \
    {                                                                                              \
        mean_n(taps, first, second, out, n);                                                       \
    }
EACH(DEFINE)
#define PICK(n) , pick_##n
#define ALONG(n) , along_##n
#define MEAN(n) , mean_##n

static void pick(const npud_taps *taps, const uint8_t *row, uint8_t *out)
{
    static void (*const of[])(const npud_taps *, const uint8_t *,
                              uint8_t *) = {npud_scalar_pick EACH(PICK)};
    of[taps->windows](taps, row, out);
}

static void along(const npud_taps *taps, const uint8_t *row, int16_t *out)
{
    static void (*const of[])(const npud_taps *, const uint8_t *,
                              int16_t *) = {npud_scalar_along EACH(ALONG)};
    of[taps->windows](taps, row, out);
}

static void mean(const npud_taps *taps, const uint8_t *first, const uint8_t *second, uint8_t *out)
{
    static void (*const of[])(const npud_taps *, const uint8_t *, const uint8_t *,
                              uint8_t *) = {npud_scalar_mean EACH(MEAN)};
    of[taps->windows](taps, first, second, out);
}

/* ---- between rows ---- */

/* (h · b >> 16) of eight: sqdmulh gives h · b >> 15. */
FN uint8x8_t blended(const int16_t *first, const int16_t *second, int16x8_t a, int16x8_t b)
{
    int16x8_t sum = vshrq_n_s16(vqdmulhq_s16(vld1q_s16(first), a), 1);
    sum = vsraq_n_s16(sum, vqdmulhq_s16(vld1q_s16(second), b), 1);
    return vqrshrun_n_s16(sum, 2);
}

static void between(const int16_t *first, const int16_t *second, int weight, size_t n,
                    uint8_t *out)
{
    const int16x8_t a = vdupq_n_s16((int16_t)(2048 - weight)), b = vdupq_n_s16((int16_t)weight);
    size_t j = 0;
    for (; j + 16 <= n; j += 16) {
        uint8x8_t low = blended(first + j, second + j, a, b);
        vst1q_u8(out + j, vcombine_u8(low, blended(first + j + 8, second + j + 8, a, b)));
    }
    npud_scalar_between(first + j, second + j, weight, n - j, out + j);
}

static void between16(const int16_t *first, const int16_t *second, int weight, size_t n,
                      int16_t *out)
{
    const int16x8_t factor = vdupq_n_s16((int16_t)(weight * 16));
    for (size_t j = 0; j < n; j += 16) /* all three rows have NPUD_SLACK */
        for (size_t k = j; k < j + 16; k += 8) {
            int16x8_t a = vld1q_s16(first + k), d = vsubq_s16(vld1q_s16(second + k), a);
            vst1q_s16(out + k, vaddq_s16(a, vqrdmulhq_s16(d, factor)));
        }
}

/* ---- colours ---- */

static void to_bgr(const npud_to_bgr *m, const int16_t *const yuv[3], size_t n,
                   uint8_t *const out[3])
{
    const int16x8_t y = vdupq_n_s16(m->y), bias = vdupq_n_s16(m->bias), bu = vdupq_n_s16(m->bu);
    const int16x8_t gu = vdupq_n_s16(m->gu), gv = vdupq_n_s16(m->gv), rv = vdupq_n_s16(m->rv);
    const int16x8_t middle = vdupq_n_s16(16384);
    const int16_t *lumas = yuv[0], *us = yuv[1], *vs = yuv[2];
    uint8_t *blue = out[0], *green = out[1], *red = out[2];
    size_t j = 0;
    for (; j + 16 <= n; j += 16) {
        uint8x8_t b[2], g[2], r[2];
        for (int k = 0; k < 2; k++) {
            size_t at = j + 8 * (size_t)k;
            int16x8_t light = vaddq_s16(vqrdmulhq_s16(vld1q_s16(lumas + at), y), bias);
            int16x8_t u = vsubq_s16(vld1q_s16(us + at), middle);
            int16x8_t v = vsubq_s16(vld1q_s16(vs + at), middle);
            int16x8_t part = vaddq_s16(light, vqrdmulhq_s16(u, gu));
            b[k] = vqrshrun_n_s16(vaddq_s16(light, vqrdmulhq_s16(u, bu)), 5);
            g[k] = vqrshrun_n_s16(vaddq_s16(part, vqrdmulhq_s16(v, gv)), 5);
            r[k] = vqrshrun_n_s16(vaddq_s16(light, vqrdmulhq_s16(v, rv)), 5);
        }
        vst1q_u8(blue + j, vcombine_u8(b[0], b[1]));
        vst1q_u8(green + j, vcombine_u8(g[0], g[1]));
        vst1q_u8(red + j, vcombine_u8(r[0], r[1]));
    }
    const int16_t *const rest[3] = {yuv[0] + j, yuv[1] + j, yuv[2] + j};
    uint8_t *const rest_out[3] = {out[0] + j, out[1] + j, out[2] + j};
    npud_scalar_to_bgr(m, rest, n - j, rest_out);
}

static void rescale(const int16_t *in, int factor, int bias, size_t n, uint8_t *out)
{
    const int16x8_t k = vdupq_n_s16((int16_t)factor), plus = vdupq_n_s16((int16_t)bias);
    size_t j = 0;
    for (; j + 16 <= n; j += 16) {
        int16x8_t a = vaddq_s16(vqrdmulhq_s16(vld1q_s16(in + j), k), plus);
        int16x8_t b = vaddq_s16(vqrdmulhq_s16(vld1q_s16(in + j + 8), k), plus);
        vst1q_u8(out + j, vqrshrun_high_n_s16(vqrshrun_n_s16(a, 6), b, 6));
    }
    npud_scalar_rescale(in + j, factor, bias, n - j, out + j);
}

static void split(const uint8_t *pixels, size_t n, uint8_t *const out[3])
{
    size_t j = 0;
    for (; j + 16 <= n; j += 16) {
        uint8x16x3_t planes = vld3q_u8(pixels + 3 * j);
        for (int c = 0; c < 3; c++)
            vst1q_u8(out[c] + j, planes.val[c]);
    }
    uint8_t *const rest[3] = {out[0] + j, out[1] + j, out[2] + j};
    npud_scalar_split(pixels + 3 * j, n - j, rest);
}

static void join(const uint8_t *const planes[3], size_t n, uint8_t *out)
{
    size_t j = 0;
    for (; j + 16 <= n; j += 16) {
        uint8x16x3_t pixels = {
            {vld1q_u8(planes[0] + j), vld1q_u8(planes[1] + j), vld1q_u8(planes[2] + j)}};
        vst3q_u8(out + 3 * j, pixels);
    }
    const uint8_t *const rest[3] = {planes[0] + j, planes[1] + j, planes[2] + j};
    npud_scalar_join(rest, n - j, out + 3 * j);
}

/* ---- NV12 ---- */

/* A row of the matrix on eight colours times 128, rounded. */
FN uint8x8_t yuv_of(const int16x8_t colours[3], const npud_to_yuv *m, const int to)
{
    int16x8_t sum = vaddq_s16(vqrdmulhq_n_s16(colours[0], m->factor[to][0]),
                              vdupq_n_s16(m->bias[to]));
    sum = vaddq_s16(sum, vqrdmulhq_n_s16(colours[1], m->factor[to][1]));
    return vqrshrun_n_s16(vaddq_s16(sum, vqrdmulhq_n_s16(colours[2], m->factor[to][2])), 7);
}

static void to_nv12(const npud_to_yuv *m, const uint8_t *const bgr[2], size_t n,
                    uint8_t *const luma[2], uint8_t *chroma)
{
    size_t j = 0;
    for (; j + 16 <= n; j += 16) {
        uint16x8_t sums[3];
        for (int row = 0; row < 2; row++) {
            uint8x16x3_t planes = vld3q_u8(bgr[row] + 3 * j);
            int16x8_t low[3], high[3];
            for (int c = 0; c < 3; c++) {
                low[c] = vreinterpretq_s16_u16(vshll_n_u8(vget_low_u8(planes.val[c]), 7));
                high[c] = vreinterpretq_s16_u16(vshll_high_n_u8(planes.val[c], 7));
                sums[c] = row ? vpadalq_u8(sums[c], planes.val[c]) : vpaddlq_u8(planes.val[c]);
            }
            vst1q_u8(luma[row] + j, vcombine_u8(yuv_of(low, m, 0), yuv_of(high, m, 0)));
        }
        int16x8_t mean[3];
        for (int c = 0; c < 3; c++)
            mean[c] = vreinterpretq_s16_u16(vshlq_n_u16(sums[c], 5));
        vst2_u8(chroma + j, (uint8x8x2_t){{yuv_of(mean, m, 1), yuv_of(mean, m, 2)}});
    }
    const uint8_t *const rest[2] = {bgr[0] + 3 * j, bgr[1] + 3 * j};
    uint8_t *const rest_luma[2] = {luma[0] + j, luma[1] + j};
    npud_scalar_to_nv12(m, rest, n - j, rest_luma, chroma + j);
}

/* ---- real numbers ---- */

static void floats(const uint8_t *in, float gain, float offset, size_t n, float *out)
{
    const float32x4_t plus = vdupq_n_f32(offset);
    uint8x16_t at[4]; /* four bytes each, as 32 bits */
    for (int q = 0; q < 4; q++) {
        uint8_t from[16];
        for (int i = 0; i < 16; i++)
            from[i] = i % 4 ? 255 : (uint8_t)(4 * q + i / 4);
        at[q] = vld1q_u8(from);
    }
    size_t j = 0;
    for (; j + 16 <= n; j += 16) {
        uint8x16_t bytes = vld1q_u8(in + j);
        for (int q = 0; q < 4; q++) {
            float32x4_t value = vcvtq_f32_u32(vreinterpretq_u32_u8(vqtbl1q_u8(bytes, at[q])));
            vst1q_f32(out + j + 4 * (size_t)q, vaddq_f32(vmulq_n_f32(value, gain), plus));
        }
    }
    npud_scalar_floats(in + j, gain, offset, n - j, out + j);
}

const npud_pixel_kernels npud_pixels_neon = {
    .name = "neon",
    .pack = pack,
    .pick = pick,
    .along = along,
    .mean = mean,
    .between = between,
    .between16 = between16,
    .to_bgr = to_bgr,
    .rescale = rescale,
    .to_nv12 = to_nv12,
    .split = split,
    .join = join,
    .floats = floats,
};
#endif
