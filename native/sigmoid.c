/* Sigmoid for the few candidates that survive: linear interpolation in a table, or exact.
 *
 * Table on [-10, 10], saturating outside (4.54e-5).  The interpolation error is at most
 * step² · 0.0962 / 8, plus float32 rounding.  The values rise monotonically, so scores keep the order of the logits. */
#include <stdlib.h>

#include "exp.h"
#include "decoder.h"

static const float LIMIT = 10.0f;

/* exp(x) for |x| ≤ 10 in double: Taylor at x / 1024, squared ten times; relative error < 1e-12.
 * libm is not the same everywhere, this is. */
static double exp_double(double x)
{
    double y = x / 1024.0;
    double sum = 1.0;
    for (int i = 8; i >= 1; i--)
        sum = 1.0 + sum * y / i;
    for (int i = 0; i < 10; i++)
        sum *= sum;
    return sum;
}

int npud_sigmoid_init(npud_sigmoid *sigmoid, int steps)
{
    sigmoid->steps = steps;
    sigmoid->table = NULL;
    if (steps == 0)
        return 0;
    sigmoid->table = malloc(((size_t)steps + 1) * sizeof *sigmoid->table);
    if (!sigmoid->table)
        return -1;
    for (int i = 0; i <= steps; i++) {
        double x = -10.0 + 20.0 * i / steps;
        sigmoid->table[i] = (float)(1.0 / (1.0 + exp_double(-x)));
    }
    return 0;
}

void npud_sigmoid_free(npud_sigmoid *sigmoid)
{
    free(sigmoid->table);
    sigmoid->table = NULL;
}

static float exact(float x)
{
    float e = npud_exp_f32(x < 0.0f ? x : -x);
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

float npud_sigmoid_at(const npud_sigmoid *sigmoid, float x)
{
    int steps = sigmoid->steps;
    if (steps == 0)
        return exact(x);
    if (!(x > -LIMIT))
        return x == x ? sigmoid->table[0] : x; /* NaN stays NaN */
    if (x >= LIMIT)
        return sigmoid->table[steps];
    double position = ((double)x + 10.0) * (steps / 20.0); /* in float32 this would cost 4e-7 */
    int index = (int)position;
    index = index < steps ? index : steps - 1;
    float low = sigmoid->table[index], high = sigmoid->table[index + 1];
    float value = low + (float)(position - index) * (high - low);
    return value < high ? value : high;
}
