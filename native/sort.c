/* Sorts the candidates' keys: a radix sort from the top whose digits fit the range of the keys.
 *
 * Each round spreads the keys over about as many buckets as there are keys, by the leading bits of
 * key - smallest; a bucket that stays large (many equal scores) gets a round of its own, whose range
 * is at least `buckets` times narrower, so there are at most seven rounds (60 KB of stack).  Ranks on
 * both sides of 0 have bits that lie far apart: the first round spreads those evenly by value.  What
 * is left is out of place by a few positions, which one insertion sort puts right.  About 60
 * instructions a key. */
#include <float.h>

#include "kernels.h"

enum { FEW = 24, BITS_MIN = 5, BITS_MAX = 11 };

/* How keys are spread: by bits (shift), or evenly by rank where per_bucket is not 0. */
typedef struct {
    uint64_t least;
    int shift;
    float top, per_bucket;
} digits;

static void insertion_sort(uint64_t *keys, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        uint64_t key = keys[i];
        size_t j = i;
        for (; j > 0 && keys[j - 1] > key; j--)
            keys[j] = keys[j - 1];
        keys[j] = key;
    }
}

static int bit_length(uint64_t value)
{
    int length = 0;
    for (int step = 32; step; step /= 2)
        if (value >> step) {
            value >>= step;
            length += step;
        }
    return length + (value != 0);
}

/* Rises with the key: rounding does not change the order of differences and products. */
static inline uint32_t by_rank(const digits *d, uint64_t key)
{
    return (uint32_t)(int32_t)((d->top - npud_key_rank(key)) * d->per_bucket);
}

static inline uint32_t by_bits(const digits *d, uint64_t key)
{
    return (uint32_t)((key - d->least) >> d->shift);
}

/* Moves every key into its bucket; ends[b] becomes the end of bucket b. */
static inline void distribute(const uint64_t *keys, size_t count, const digits *d,
                              uint32_t (*digit)(const digits *, uint64_t), int buckets,
                              uint32_t *ends, uint64_t *out)
{
    memset(ends, 0, (size_t)buckets * sizeof *ends);
    for (size_t i = 0; i < count; i++)
        ends[digit(d, keys[i])]++;
    uint32_t start = 0;
    for (int b = 0; b < buckets; b++) {
        uint32_t size = ends[b];
        ends[b] = start;
        start += size;
    }
    for (size_t i = 0; i < count; i++)
        out[ends[digit(d, keys[i])]++] = keys[i];
}

/* Afterwards no key is FEW or more positions from its place. */
static void spread(uint64_t *keys, uint64_t *spare, size_t count, int first_round)
{
    uint32_t ends[(1 << BITS_MAX) + 1];
    uint64_t least = keys[0], most = keys[0];
    for (size_t i = 1; i < count; i++) {
        least = keys[i] < least ? keys[i] : least;
        most = keys[i] > most ? keys[i] : most;
    }
    if (least == most)
        return;
    int bits = bit_length(count) - 1, range = bit_length(most - least);
    bits = bits < BITS_MIN ? BITS_MIN : bits > BITS_MAX ? BITS_MAX : bits;
    digits d = {least, range > bits ? range - bits : 0, npud_key_rank(least), 0.0f};
    float span = d.top - npud_key_rank(most); /* NaN or infinite where a rank is infinite */
    int buckets = (int)((most - least) >> d.shift) + 1;
    if (first_round && (least ^ most) >> 63 && span > 1e-30f && span <= FLT_MAX) {
        d.per_bucket = (float)((1 << bits) - 1) / span;
        buckets = (1 << bits) + 1; /* rounding may reach the last */
        distribute(keys, count, &d, by_rank, buckets, ends, spare);
    } else {
        distribute(keys, count, &d, by_bits, buckets, ends, spare);
    }
    memcpy(keys, spare, count * sizeof *keys);
    uint32_t start = 0;
    for (int b = 0; b < buckets; b++) {
        if (ends[b] - start > FEW)
            spread(keys + start, spare + start, ends[b] - start, 0);
        start = ends[b];
    }
}

void npud_sort(uint64_t *keys, uint64_t *spare, size_t count)
{
    if (count > FEW)
        spread(keys, spare, count, 1);
    insertion_sort(keys, count);
}
