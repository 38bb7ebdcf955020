/* What the kernels compute, in portable C; see pixels.h. */
#include "scalar.h"

static inline int mul(int x, int k) { return (x * k + (1 << 14)) >> 15; }

static inline uint8_t byte_of(int x) { return (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x); }

static size_t no_pack(const npud_taps *taps, uint8_t *to)
{
    (void)taps, (void)to;
    return 0;
}

void npud_scalar_pick(const npud_taps *taps, const uint8_t *row, uint8_t *out)
{
    for (size_t j = 0; j < taps->count; j++)
        out[j] = row[taps->left[j]];
}

void npud_scalar_along(const npud_taps *taps, const uint8_t *row, int16_t *scratch)
{
    for (size_t j = 0; j < taps->count; j++) {
        int left = row[taps->left[j]], right = row[taps->right[j]];
        scratch[j] = (int16_t)(left * 128 + ((right - left) * taps->weight[j] >> 4));
    }
}

void npud_scalar_mean(const npud_taps *taps, const uint8_t *first, const uint8_t *second,
                      uint8_t *out)
{
    for (size_t j = 0; j < taps->count; j++) {
        uint32_t left = taps->left[j], right = taps->right[j];
        out[j] = (uint8_t)((first[left] + first[right] + second[left] + second[right] + 2) >> 2);
    }
}

void npud_scalar_between(const int16_t *first, const int16_t *second, int weight, size_t n,
                         uint8_t *out)
{
    for (size_t j = 0; j < n; j++)
        out[j] = (uint8_t)(((first[j] * (2048 - weight) >> 16) + (second[j] * weight >> 16) + 2) >> 2);
}

void npud_scalar_between16(const int16_t *first, const int16_t *second, int weight, size_t n,
                           int16_t *scratch)
{
    for (size_t j = 0; j < n; j++)
        scratch[j] = (int16_t)(first[j] + mul(second[j] - first[j], weight * 16));
}

void npud_scalar_to_bgr(const npud_to_bgr *m, const int16_t *const yuv[3], size_t n,
                        uint8_t *const out[3])
{
    for (size_t j = 0; j < n; j++) {
        int y = mul(yuv[0][j], m->y) + m->bias, u = yuv[1][j] - 16384, v = yuv[2][j] - 16384;
        out[0][j] = byte_of((y + mul(u, m->bu) + 16) >> 5);
        out[1][j] = byte_of((y + mul(u, m->gu) + mul(v, m->gv) + 16) >> 5);
        out[2][j] = byte_of((y + mul(v, m->rv) + 16) >> 5);
    }
}

void npud_scalar_rescale(const int16_t *in, int factor, int bias, size_t n, uint8_t *out)
{
    for (size_t j = 0; j < n; j++)
        out[j] = byte_of((mul(in[j], factor) + bias + 32) >> 6);
}

/* Row `to` of the matrix on colours times 128. */
static inline uint8_t yuv_of(const npud_to_yuv *m, int to, int b, int g, int r)
{
    int sum = mul(b, m->factor[to][0]) + mul(g, m->factor[to][1]) + mul(r, m->factor[to][2]);
    return byte_of((sum + m->bias[to] + 64) >> 7);
}

void npud_scalar_to_nv12(const npud_to_yuv *m, const uint8_t *const bgr[2], size_t n,
                         uint8_t *const luma[2], uint8_t *chroma)
{
    for (int row = 0; row < 2; row++)
        for (size_t j = 0; j < n; j++) {
            const uint8_t *p = bgr[row] + 3 * j;
            luma[row][j] = yuv_of(m, 0, p[0] * 128, p[1] * 128, p[2] * 128);
        }
    for (size_t j = 0; j + 1 < n; j += 2) {
        const uint8_t *p = bgr[0] + 3 * j, *q = bgr[1] + 3 * j;
        int b = p[0] + p[3] + q[0] + q[3], g = p[1] + p[4] + q[1] + q[4];
        int r = p[2] + p[5] + q[2] + q[5];
        chroma[j] = yuv_of(m, 1, b * 32, g * 32, r * 32);
        chroma[j + 1] = yuv_of(m, 2, b * 32, g * 32, r * 32);
    }
}

void npud_scalar_split(const uint8_t *pixels, size_t n, uint8_t *const out[3])
{
    for (size_t j = 0; j < n; j++)
        for (int c = 0; c < 3; c++)
            out[c][j] = pixels[3 * j + (size_t)c];
}

void npud_scalar_join(const uint8_t *const planes[3], size_t n, uint8_t *out)
{
    for (size_t j = 0; j < n; j++)
        for (int c = 0; c < 3; c++)
            out[3 * j + (size_t)c] = planes[c][j];
}

void npud_scalar_floats(const uint8_t *in, float gain, float offset, size_t n, float *out)
{
    for (size_t j = 0; j < n; j++)
        out[j] = (float)in[j] * gain + offset;
}

const npud_pixel_kernels npud_pixels_scalar = {
    .name = "scalar",
    .pack = no_pack,
    .pick = npud_scalar_pick,
    .along = npud_scalar_along,
    .mean = npud_scalar_mean,
    .between = npud_scalar_between,
    .between16 = npud_scalar_between16,
    .to_bgr = npud_scalar_to_bgr,
    .rescale = npud_scalar_rescale,
    .to_nv12 = npud_scalar_to_nv12,
    .split = npud_scalar_split,
    .join = npud_scalar_join,
    .floats = npud_scalar_floats,
};
