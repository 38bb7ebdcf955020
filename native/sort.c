/* Merge sort of 64-bit keys, from insertion-sorted runs. */
#include "kernels.h"

enum { RUN = 12 };

static void sort_run(uint64_t *keys, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        uint64_t key = keys[i];
        size_t j = i;
        for (; j > 0 && keys[j - 1] > key; j--)
            keys[j] = keys[j - 1];
        keys[j] = key;
    }
}

static void merge(const uint64_t *left, size_t left_count, const uint64_t *right,
                  size_t right_count, uint64_t *out)
{
    const uint64_t *left_end = left + left_count, *right_end = right + right_count;
    while (left < left_end && right < right_end) {
        uint64_t a = *left, b = *right;
        int take_right = b < a;
        *out++ = take_right ? b : a;
        right += take_right;
        left += !take_right;
    }
    memcpy(out, left, (size_t)(left_end - left) * sizeof *out);
    memcpy(out + (left_end - left), right, (size_t)(right_end - right) * sizeof *out);
}

void npud_sort(uint64_t *keys, uint64_t *spare, size_t count)
{
    for (size_t i = 0; i < count; i += RUN)
        sort_run(keys + i, count - i < RUN ? count - i : RUN);
    uint64_t *from = keys, *to = spare;
    for (size_t width = RUN; width < count; width *= 2) {
        for (size_t i = 0; i < count; i += 2 * width) {
            size_t left = count - i < width ? count - i : width;
            size_t rest = count - i - left;
            merge(from + i, left, from + i + left, rest < width ? rest : width, to + i);
        }
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != keys)
        memcpy(keys, from, count * sizeof *keys);
}
