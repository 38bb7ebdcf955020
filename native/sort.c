/* Sorts the candidates' keys: a radix sort from the top whose digits fit the range of the keys.
 *
 * Each round spreads the keys over about as many buckets as there are keys, by the leading bits of
 * key - smallest; a bucket that stays large (many equal scores) gets a round of its own, whose range
 * is at least `buckets` times narrower, so there are at most seven rounds (56 KB of stack).  What is left is out of
 * place by a few positions, which one insertion sort puts right.  About 30 instructions a key. */
#include "kernels.h"

enum { FEW = 24, BITS_MIN = 5, BITS_MAX = 11 };

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

/* Moves every key into its bucket; ends[b] becomes the end of bucket b. */
static void distribute(const uint64_t *keys, size_t count, uint64_t least, int shift, int buckets,
                       uint32_t *ends, uint64_t *out)
{
    memset(ends, 0, (size_t)buckets * sizeof *ends);
    for (size_t i = 0; i < count; i++)
        ends[(keys[i] - least) >> shift]++;
    uint32_t start = 0;
    for (int b = 0; b < buckets; b++) {
        uint32_t size = ends[b];
        ends[b] = start;
        start += size;
    }
    for (size_t i = 0; i < count; i++)
        out[ends[(keys[i] - least) >> shift]++] = keys[i];
}

/* Afterwards no key is FEW or more positions from its place. */
static void spread(uint64_t *keys, uint64_t *spare, size_t count)
{
    uint32_t ends[1 << BITS_MAX];
    uint64_t least = keys[0], most = keys[0];
    for (size_t i = 1; i < count; i++) {
        least = keys[i] < least ? keys[i] : least;
        most = keys[i] > most ? keys[i] : most;
    }
    if (least == most)
        return;
    int bits = bit_length(count) - 1, range = bit_length(most - least);
    bits = bits < BITS_MIN ? BITS_MIN : bits > BITS_MAX ? BITS_MAX : bits;
    int shift = range > bits ? range - bits : 0, buckets = (int)((most - least) >> shift) + 1;
    distribute(keys, count, least, shift, buckets, ends, spare);
    memcpy(keys, spare, count * sizeof *keys);
    uint32_t start = 0;
    for (int b = 0; shift && b < buckets; b++) {
        if (ends[b] - start > FEW)
            spread(keys + start, spare + start, ends[b] - start);
        start = ends[b];
    }
}

void npud_sort(uint64_t *keys, uint64_t *spare, size_t count)
{
    if (count > FEW)
        spread(keys, spare, count);
    insertion_sort(keys, count);
}
