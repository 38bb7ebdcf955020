/* The kernels with AVX2.  Bytes are picked from 16 to 256 neighbouring ones by shuffles, for two
 * groups at a time, one in either half of the registers. */
#include "scalar.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx2")))
#define FN TARGET __attribute__((always_inline)) static inline
#define V __m256i

FN V load(const void *p) { return _mm256_loadu_si256((const V *)p); }
FN void store(void *p, V v) { _mm256_storeu_si256((V *)p, v); }
FN V load_halves(const void *low, const void *high)
{
    __m128i a = _mm_loadu_si128((const __m128i *)low), b = _mm_loadu_si128((const __m128i *)high);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
}
FN void store_halves(void *low, void *high, V v)
{
    _mm_storeu_si128((__m128i *)low, _mm256_castsi256_si128(v));
    _mm_storeu_si128((__m128i *)high, _mm256_extracti128_si256(v, 1));
}

/* ---- along a row ---- */

/* Per pair of groups, 0x80 where another window has the byte:
 *   picks    for each window a vector of positions
 *   halves   for each window two: (left, right) of the first and of the last eight bytes
 *   else     for each window two: all left, all right positions; then four of weights,
 *            (2048 - a, a) of four bytes of either group each */
static size_t pair_size(const npud_taps *taps)
{
    size_t vectors = taps->picks ? taps->windows : 2 * taps->windows + (taps->halves ? 0 : 4);
    return vectors * sizeof(V);
}

static void place(const npud_taps *taps, uint32_t at, size_t vector, size_t vectors, size_t lane,
                  uint8_t *to)
{
    for (size_t w = 0; w < taps->windows; w++)
        to[(vectors * w + vector) * sizeof(V) + lane] = at / 16 == w ? (uint8_t)(at % 16) : 0x80;
}

static void pack_group(const npud_taps *taps, size_t group, uint8_t *to)
{
    for (size_t k = 0; k < NPUD_GROUP; k++) {
        const npud_spot spot = taps->spots[group];
        size_t j = spot.start + k;
        uint32_t left = taps->left[j] - spot.base, right = taps->right[j] - spot.base;
        if (taps->picks) {
            place(taps, left, 0, 1, k, to);
        } else if (taps->halves) {
            place(taps, left, k / 8, 2, k % 8 * 2, to);
            place(taps, right, k / 8, 2, k % 8 * 2 + 1, to);
        } else {
            int16_t weights[2] = {(int16_t)(2048 - taps->weight[j]), taps->weight[j]};
            place(taps, left, 0, 2, k, to);
            place(taps, right, 1, 2, k, to);
            memcpy(to + (2 * taps->windows + k / 4) * sizeof(V) + k % 4 * 4, weights, 4);
        }
    }
}

static size_t pack(const npud_taps *taps, uint8_t *to)
{
    size_t pairs = (taps->groups + 1) / 2;
    for (size_t p = 0; to && p < pairs; p++) {
        pack_group(taps, 2 * p, to + p * pair_size(taps));
        pack_group(taps, 2 * p + 1, to + p * pair_size(taps) + 16);
    }
    return pairs * pair_size(taps);
}

FN V picked(const uint8_t *low, const uint8_t *high, const V *at, size_t step, int windows)
{
    V found = _mm256_shuffle_epi8(load_halves(low, high), at[0]);
    for (int w = 1; w < windows; w++) {
        V next = _mm256_shuffle_epi8(load_halves(low + 16 * w, high + 16 * w), at[(size_t)w * step]);
        found = _mm256_or_si256(found, next);
    }
    return found;
}

FN void pick_n(const npud_taps *taps, const uint8_t *row, uint8_t *out, const int windows)
{
    const V *at = taps->packed;
    const npud_spot *spot = taps->spots, *end = spot + taps->groups;
    for (; spot < end; spot += 2, at += windows) {
        const npud_spot a = spot[0], b = spot[1];
        V found = picked(row + a.base, row + b.base, at, 1, windows);
        store_halves(out + a.start, out + b.start, found);
    }
}

/* Four bytes of either group, (left, right) as 16 bits, to numbers of 32 bits. */
FN V four(V pairs, V weights)
{
    return _mm256_srai_epi32(_mm256_madd_epi16(pairs, weights), 4);
}

FN void along_n(const npud_taps *taps, const uint8_t *row, int16_t *out, const int windows)
{
    const V zero = _mm256_setzero_si256();
    const V *at = taps->packed;
    const npud_spot *spot = taps->spots, *end = spot + taps->groups;
    for (; spot < end; spot += 2, at += 2 * windows + 4) {
        const npud_spot one = spot[0], other = spot[1];
        const uint8_t *low = row + one.base, *high = row + other.base;
        int16_t *to = out + one.start, *too = out + other.start;
        V left = picked(low, high, at, 2, windows), right = picked(low, high, at + 1, 2, windows);
        V a = _mm256_unpacklo_epi8(left, right), b = _mm256_unpackhi_epi8(left, right);
        const V *weights = at + 2 * windows;
        V p = four(_mm256_unpacklo_epi8(a, zero), weights[0]);
        V q = four(_mm256_unpackhi_epi8(a, zero), weights[1]);
        V r = four(_mm256_unpacklo_epi8(b, zero), weights[2]);
        V s = four(_mm256_unpackhi_epi8(b, zero), weights[3]);
        store_halves(to, too, _mm256_packs_epi32(p, q));
        store_halves(to + 8, too + 8, _mm256_packs_epi32(r, s));
    }
}

/* left + right of eight bytes of either group. */
FN V pair_sums(const uint8_t *low, const uint8_t *high, const V *at, const int windows)
{
    return _mm256_maddubs_epi16(picked(low, high, at, 2, windows), _mm256_set1_epi8(1));
}

FN void halve_n(const npud_taps *taps, const uint8_t *row, int16_t *out, const int windows)
{
    const V *at = taps->packed;
    const npud_spot *spot = taps->spots, *end = spot + taps->groups;
    for (; spot < end; spot += 2, at += 2 * windows) {
        const npud_spot one = spot[0], other = spot[1];
        const uint8_t *low = row + one.base, *high = row + other.base;
        int16_t *to = out + one.start, *too = out + other.start;
        store_halves(to, too, _mm256_slli_epi16(pair_sums(low, high, at, windows), 6));
        store_halves(to + 8, too + 8, _mm256_slli_epi16(pair_sums(low, high, at + 1, windows), 6));
    }
}

FN void mean_n(const npud_taps *taps, const uint8_t *first, const uint8_t *second, uint8_t *out,
               const int windows)
{
    const V *at = taps->packed, two = _mm256_set1_epi16(2);
    const npud_spot *spot = taps->spots, *end = spot + taps->groups;
    for (; spot < end; spot += 2, at += 2 * windows) {
        const npud_spot a = spot[0], b = spot[1];
        V sums[2];
        for (int k = 0; k < 2; k++) {
            V upper = pair_sums(first + a.base, first + b.base, at + k, windows);
            V lower = pair_sums(second + a.base, second + b.base, at + k, windows);
            sums[k] = _mm256_srli_epi16(_mm256_add_epi16(_mm256_add_epi16(upper, lower), two), 2);
        }
        V bytes = _mm256_packus_epi16(sums[0], sums[1]);
        store_halves(out + a.start, out + b.start, bytes);
    }
}

/* One function per number of windows. */
#define EACH(DO)                                                                                   \
    DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8)                                                \
    DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15) DO(16)
#define DEFINE(n)                                                                                  \
    TARGET static void pick_##n(const npud_taps *taps, const uint8_t *row, uint8_t *out)           \
    {                                                                                              \
        pick_n(taps, row, out, n);                                                                 \
    }                                                                                              \
    TARGET static void along_##n(const npud_taps *taps, const uint8_t *row, int16_t *out)          \
    {                                                                                              \
        if (taps->halves)                                                                          \
            halve_n(taps, row, out, n);                                                            \
        else                                                                                       \
            along_n(taps, row, out, n);                                                            \
    }                                                                                              \
    TARGET static void mean_##n(const npud_taps *taps, const uint8_t *first, const uint8_t *second, \
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

TARGET static void between(const int16_t *first, const int16_t *second, int weight, size_t n,
                           uint8_t *out)
{
    const V a = _mm256_set1_epi16((int16_t)(2048 - weight)), b = _mm256_set1_epi16((int16_t)weight);
    const V two = _mm256_set1_epi16(2);
    size_t j = 0;
    for (; j + 32 <= n; j += 32) {
        V sums[2];
        for (int k = 0; k < 2; k++) {
            V upper = _mm256_mulhi_epi16(load(first + j + 16 * k), a);
            V lower = _mm256_mulhi_epi16(load(second + j + 16 * k), b);
            sums[k] = _mm256_srli_epi16(_mm256_add_epi16(_mm256_add_epi16(upper, lower), two), 2);
        }
        V bytes = _mm256_packus_epi16(sums[0], sums[1]);
        store(out + j, _mm256_permute4x64_epi64(bytes, 0xd8));
    }
    npud_scalar_between(first + j, second + j, weight, n - j, out + j);
}

TARGET static void between16(const int16_t *first, const int16_t *second, int weight, size_t n,
                             int16_t *out)
{
    const V factor = _mm256_set1_epi16((int16_t)(weight * 16));
    for (size_t j = 0; j < n; j += 16) { /* all three rows have NPUD_SLACK */
        V a = load(first + j), d = _mm256_sub_epi16(load(second + j), a);
        store(out + j, _mm256_add_epi16(a, _mm256_mulhrs_epi16(d, factor)));
    }
}

/* ---- colours ---- */

FN V round_bytes_5(V a, V b)
{
    const V half = _mm256_set1_epi16(16);
    a = _mm256_srai_epi16(_mm256_add_epi16(a, half), 5);
    b = _mm256_srai_epi16(_mm256_add_epi16(b, half), 5);
    return _mm256_permute4x64_epi64(_mm256_packus_epi16(a, b), 0xd8);
}

TARGET static void to_bgr(const npud_to_bgr *m, const int16_t *const yuv[3], size_t n,
                          uint8_t *const out[3])
{
    const V y = _mm256_set1_epi16(m->y), bias = _mm256_set1_epi16(m->bias);
    const V bu = _mm256_set1_epi16(m->bu), gu = _mm256_set1_epi16(m->gu);
    const V gv = _mm256_set1_epi16(m->gv), rv = _mm256_set1_epi16(m->rv);
    const V middle = _mm256_set1_epi16(16384);
    const int16_t *lumas = yuv[0], *us = yuv[1], *vs = yuv[2];
    uint8_t *blue = out[0], *green = out[1], *red = out[2];
    size_t j = 0;
    for (; j + 32 <= n; j += 32) {
        V b[2], g[2], r[2];
        for (int k = 0; k < 2; k++) {
            size_t at = j + 16 * (size_t)k;
            V light = _mm256_add_epi16(_mm256_mulhrs_epi16(load(lumas + at), y), bias);
            V u = _mm256_sub_epi16(load(us + at), middle);
            V v = _mm256_sub_epi16(load(vs + at), middle);
            b[k] = _mm256_add_epi16(light, _mm256_mulhrs_epi16(u, bu));
            g[k] = _mm256_add_epi16(light, _mm256_mulhrs_epi16(u, gu));
            g[k] = _mm256_add_epi16(g[k], _mm256_mulhrs_epi16(v, gv));
            r[k] = _mm256_add_epi16(light, _mm256_mulhrs_epi16(v, rv));
        }
        store(blue + j, round_bytes_5(b[0], b[1]));
        store(green + j, round_bytes_5(g[0], g[1]));
        store(red + j, round_bytes_5(r[0], r[1]));
    }
    const int16_t *const rest[3] = {yuv[0] + j, yuv[1] + j, yuv[2] + j};
    uint8_t *const rest_out[3] = {out[0] + j, out[1] + j, out[2] + j};
    npud_scalar_to_bgr(m, rest, n - j, rest_out);
}

TARGET static void rescale(const int16_t *in, int factor, int bias, size_t n, uint8_t *out)
{
    const V k = _mm256_set1_epi16((int16_t)factor), plus = _mm256_set1_epi16((int16_t)(bias + 32));
    size_t j = 0;
    for (; j + 32 <= n; j += 32) {
        V a = _mm256_add_epi16(_mm256_mulhrs_epi16(load(in + j), k), plus);
        V b = _mm256_add_epi16(_mm256_mulhrs_epi16(load(in + j + 16), k), plus);
        a = _mm256_packus_epi16(_mm256_srai_epi16(a, 6), _mm256_srai_epi16(b, 6));
        store(out + j, _mm256_permute4x64_epi64(a, 0xd8));
    }
    npud_scalar_rescale(in + j, factor, bias, n - j, out + j);
}

/* Byte i of plane c is byte 3·i + c of three vectors, in either half. */
typedef struct {
    V at[3][3];
} split_masks;

FN split_masks splitting(void)
{
    split_masks m;
    for (int c = 0; c < 3; c++)
        for (int w = 0; w < 3; w++) {
            int8_t at[32];
            for (int i = 0; i < 32; i++) {
                int from = 3 * (i % 16) + c - 16 * w;
                at[i] = from >= 0 && from < 16 ? (int8_t)from : -128;
            }
            m.at[c][w] = load(at);
        }
    return m;
}

/* 32 pixels of three bytes as three planes. */
FN void split_32(const split_masks *m, const uint8_t *pixels, V planes[3])
{
    V a = load_halves(pixels, pixels + 48), b = load_halves(pixels + 16, pixels + 64);
    V c = load_halves(pixels + 32, pixels + 80);
    for (int k = 0; k < 3; k++)
        planes[k] = _mm256_or_si256(
            _mm256_or_si256(_mm256_shuffle_epi8(a, m->at[k][0]), _mm256_shuffle_epi8(b, m->at[k][1])),
            _mm256_shuffle_epi8(c, m->at[k][2]));
}

TARGET static void split(const uint8_t *pixels, size_t n, uint8_t *const out[3])
{
    const split_masks m = splitting();
    size_t j = 0;
    for (; j + 32 <= n; j += 32) {
        V planes[3];
        split_32(&m, pixels + 3 * j, planes);
        for (int c = 0; c < 3; c++)
            store(out[c] + j, planes[c]);
    }
    uint8_t *const rest[3] = {out[0] + j, out[1] + j, out[2] + j};
    npud_scalar_split(pixels + 3 * j, n - j, rest);
}

TARGET static void join(const uint8_t *const planes[3], size_t n, uint8_t *out)
{
    V at[3][3]; /* byte i of vector w is of plane c = (16·w + i) mod 3 */
    for (int w = 0; w < 3; w++)
        for (int c = 0; c < 3; c++) {
            int8_t from[32];
            for (int i = 0; i < 32; i++) {
                int byte = 16 * w + i % 16;
                from[i] = byte % 3 == c ? (int8_t)(byte / 3) : -128;
            }
            at[w][c] = load(from);
        }
    size_t j = 0;
    for (; j + 32 <= n; j += 32) {
        V a = load(planes[0] + j), b = load(planes[1] + j), c = load(planes[2] + j);
        uint8_t *to = out + 3 * j;
        for (int w = 0; w < 3; w++) {
            V mixed = _mm256_or_si256(_mm256_shuffle_epi8(a, at[w][0]), _mm256_shuffle_epi8(b, at[w][1]));
            mixed = _mm256_or_si256(mixed, _mm256_shuffle_epi8(c, at[w][2]));
            store_halves(to + 16 * w, to + 48 + 16 * w, mixed);
        }
    }
    const uint8_t *const rest[3] = {planes[0] + j, planes[1] + j, planes[2] + j};
    npud_scalar_join(rest, n - j, out + 3 * j);
}

/* ---- NV12 ---- */

FN V weighted(const V colours[3], const V factors[3])
{
    V sum = _mm256_add_epi16(_mm256_mulhrs_epi16(colours[0], factors[0]),
                             _mm256_mulhrs_epi16(colours[1], factors[1]));
    return _mm256_add_epi16(sum, _mm256_mulhrs_epi16(colours[2], factors[2]));
}

/* Sums times 128 to rounded numbers: + bias, which holds the half, saturating. */
FN V rounded_7(V sum, V bias) { return _mm256_srai_epi16(_mm256_adds_epi16(sum, bias), 7); }

TARGET static void to_nv12(const npud_to_yuv *m, const uint8_t *const bgr[2], size_t n,
                           uint8_t *const luma[2], uint8_t *chroma)
{
    const split_masks masks = splitting();
    const V zero = _mm256_setzero_si256(), ones = _mm256_set1_epi8(1);
    V factors[3][3], bias[3];
    for (int k = 0; k < 3; k++) {
        bias[k] = _mm256_set1_epi16((int16_t)(m->bias[k] + 64));
        for (int c = 0; c < 3; c++)
            factors[k][c] = _mm256_set1_epi16(m->factor[k][c]);
    }
    size_t j = 0;
    for (; j + 32 <= n; j += 32) {
        V sums[3] = {zero, zero, zero};
        for (int row = 0; row < 2; row++) {
            V planes[3], low[3], high[3];
            split_32(&masks, bgr[row] + 3 * j, planes);
            for (int c = 0; c < 3; c++) {
                low[c] = _mm256_srli_epi16(_mm256_unpacklo_epi8(zero, planes[c]), 1);
                high[c] = _mm256_srli_epi16(_mm256_unpackhi_epi8(zero, planes[c]), 1);
                sums[c] = _mm256_add_epi16(sums[c], _mm256_maddubs_epi16(planes[c], ones));
            }
            V a = rounded_7(weighted(low, factors[0]), bias[0]);
            V b = rounded_7(weighted(high, factors[0]), bias[0]);
            store(luma[row] + j, _mm256_packus_epi16(a, b));
        }
        for (int c = 0; c < 3; c++)
            sums[c] = _mm256_slli_epi16(sums[c], 5);
        V u = rounded_7(weighted(sums, factors[1]), bias[1]);
        V v = rounded_7(weighted(sums, factors[2]), bias[2]);
        V bytes = _mm256_packus_epi16(u, v); /* 8 of u, 8 of v in either half */
        const V turn = _mm256_broadcastsi128_si256(
            _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
        store(chroma + j, _mm256_shuffle_epi8(bytes, turn));
    }
    const uint8_t *const rest[2] = {bgr[0] + 3 * j, bgr[1] + 3 * j};
    uint8_t *const rest_luma[2] = {luma[0] + j, luma[1] + j};
    npud_scalar_to_nv12(m, rest, n - j, rest_luma, chroma + j);
}

/* ---- real numbers ---- */

TARGET static void floats(const uint8_t *in, float gain, float offset, size_t n, float *out)
{
    const __m256 k = _mm256_set1_ps(gain), plus = _mm256_set1_ps(offset);
    size_t j = 0;
    for (; j + 8 <= n; j += 8) {
        V wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(in + j)));
        __m256 value = _mm256_mul_ps(_mm256_cvtepi32_ps(wide), k);
        _mm256_storeu_ps(out + j, _mm256_add_ps(value, plus));
    }
    npud_scalar_floats(in + j, gain, offset, n - j, out + j);
}

const npud_pixel_kernels npud_pixels_avx2 = {
    .name = "avx2",
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
