/* Sigmoid for the few candidates that survive: tables, or the polynomial.
 *
 * Linear and nearest look into a table of real numbers on [-range, range] that saturates outside;
 * their values rise monotonically, so scores keep the order of the logits.  Types of up to 65,536
 * values have a table of all of them.  Bounds: docs/postprocess.md. */
#include <stdlib.h>

#include "decoder.h"
#include "exp.h"

/* Taylor at x / 1024, squared ten times; relative error < 1e-11.  libm is not the same everywhere,
 * this is. */
double npud_exp_double(double x)
{
    double y = x / 1024.0;
    double sum = 1.0;
    for (int i = 8; i >= 1; i--)
        sum = 1.0 + sum * y / i;
    for (int i = 0; i < 10; i++)
        sum *= sum;
    return sum;
}

/* σ rounded once to float32; 0 below -104, where it is less than half the smallest float32. */
static float rounded_sigmoid(double x)
{
    double magnitude = x < 0.0 ? -x : x;
    if (x != x)
        return (float)x;
    double e = magnitude < 104.0 ? npud_exp_double(-magnitude) : 0.0;
    return (float)((x < 0.0 ? e : 1.0) / (1.0 + e));
}

int npud_sigmoid_init(npud_sigmoid *sigmoid)
{
    sigmoid->table = NULL;
    if (sigmoid->mode == NPUD_EXACT)
        return 0;
    double range = sigmoid->range;
    sigmoid->steps_per_unit = sigmoid->steps / (2.0 * range);
    sigmoid->table = malloc(((size_t)sigmoid->steps + 1) * sizeof *sigmoid->table);
    if (!sigmoid->table)
        return -1;
    for (int i = 0; i <= sigmoid->steps; i++)
        sigmoid->table[i] = rounded_sigmoid(-range + 2.0 * range * i / sigmoid->steps);
    return 0;
}

void npud_sigmoid_free(npud_sigmoid *sigmoid)
{
    free(sigmoid->table);
    sigmoid->table = NULL;
}

float npud_sigmoid_exact(float x)
{
    float e = npud_exp_f32(x < 0.0f ? x : -x);
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

float npud_sigmoid_at(const npud_sigmoid *sigmoid, float x)
{
    int steps = sigmoid->steps;
    if (sigmoid->mode == NPUD_EXACT)
        return npud_sigmoid_exact(x);
    if (!(x > -sigmoid->range))
        return x == x ? sigmoid->table[0] : x; /* NaN stays NaN */
    if (x >= sigmoid->range)
        return sigmoid->table[steps];
    /* in float32 the sum would cost 4e-7 */
    double position = ((double)x + (double)sigmoid->range) * sigmoid->steps_per_unit;
    if (sigmoid->mode == NPUD_NEAREST)
        return sigmoid->table[(int)(position + 0.5)];
    int index = (int)position;
    index = index < steps ? index : steps - 1;
    float low = sigmoid->table[index], high = sigmoid->table[index + 1];
    float value = low + (float)(position - index) * (high - low);
    return value < high ? value : high;
}

size_t npud_sigmoid_entries(npud_dtype dtype)
{
    return npud_itemsize(dtype) > 2 ? 0 : (size_t)1 << (8 * npud_itemsize(dtype));
}

void npud_sigmoid_fill(npud_dtype dtype, const npud_quant *quant, float *table)
{
    size_t entries = npud_sigmoid_entries(dtype);
    for (size_t bits = 0; bits < entries; bits++) {
        union {
            uint8_t narrow;
            uint16_t wide;
            uint32_t room;
        } stored = {.room = 0};
        if (entries == 256)
            stored.narrow = (uint8_t)bits;
        else
            stored.wide = (uint16_t)bits;
        table[bits] = rounded_sigmoid(npud_real(dtype, quant, &stored, 0, 0));
    }
}
