/* The scans of one element type.  Defines NAME(x), the stored TYPE, the type compared (KEY), of
 * which LOWEST is below all thresholds and also stands for NaN, LOAD(stored) → KEY,
 * THRESHOLD(npud_value) → KEY, VALUE(KEY) → npud_value and VALUE_REACHES(npud_value, threshold). */

static inline KEY NAME(larger)(KEY a, KEY b) { return a > b ? a : b; } /* b where a is NaN */

/* Eight planes at a time: one load and store of `best` for eight values compared. */
static void NAME(max_planes)(const TYPE *planes, size_t stride, int channels, size_t cells,
                             KEY *restrict best)
{
    int c = 0;
    for (size_t i = 0; i < cells; i++)
        best[i] = LOWEST;
    for (; c + PLANES <= channels; c += PLANES) {
        const TYPE *p = planes + (size_t)c * stride;
        for (size_t i = 0; i < cells; i++) {
            const TYPE *q = p + i;
            KEY m = NAME(larger)(LOAD(q[0]), best[i]);
            m = NAME(larger)(LOAD(q[stride]), m);
            m = NAME(larger)(LOAD(q[2 * stride]), m);
            m = NAME(larger)(LOAD(q[3 * stride]), m);
            m = NAME(larger)(LOAD(q[4 * stride]), m);
            m = NAME(larger)(LOAD(q[5 * stride]), m);
            m = NAME(larger)(LOAD(q[6 * stride]), m);
            best[i] = NAME(larger)(LOAD(q[7 * stride]), m);
        }
    }
    for (; c < channels; c++) {
        const TYPE *p = planes + (size_t)c * stride;
        for (size_t i = 0; i < cells; i++)
            best[i] = NAME(larger)(LOAD(p[i]), best[i]);
    }
}

/* The first of the values equal to `wanted`; -1 where none is (all are NaN). */
static int NAME(find)(const TYPE *values, size_t stride, int channels, KEY wanted)
{
    for (int c = 0; c < channels; c++)
        if (LOAD(values[(size_t)c * stride]) == wanted)
            return c;
    return -1;
}

static size_t NAME(hit)(const TYPE *values, size_t stride, int channels, size_t cell, KEY best,
                        npud_hit *hit)
{
    int class_id = NAME(find)(values, stride, channels, best);
    if (class_id < 0)
        return 0;
    *hit = (npud_hit){(uint32_t)cell, (uint32_t)class_id, VALUE(best)};
    return 1;
}

static size_t NAME(scan_planes)(const void *first, size_t stride, int channels, size_t cells,
                                npud_value threshold, npud_hit *hits)
{
    enum { STEP = 16 };
    const TYPE *planes = first;
    const KEY limit = THRESHOLD(threshold);
    KEY best[NPUD_SCAN_BLOCK];
    size_t found = 0;
    NAME(max_planes)(planes, stride, channels, cells, best);
    for (size_t start = 0; start < cells; start += STEP) {
        size_t end = start + STEP < cells ? start + STEP : cells;
        int any = 0;
        for (size_t i = start; i < end; i++)
            any |= best[i] >= limit;
        for (size_t i = start; any && i < end; i++)
            if (best[i] >= limit)
                found += NAME(hit)(planes + i, stride, channels, i, best[i], hits + found);
    }
    return found;
}

/* Counting is a sum of integers, which compilers vectorise; a maximum of floats is not. */
static size_t NAME(scan_rows)(const void *first, size_t stride, int channels, size_t cells,
                              npud_value threshold, npud_hit *hits)
{
    const KEY limit = THRESHOLD(threshold);
    size_t found = 0;
    for (size_t i = 0; i < cells; i++) {
        const TYPE *row = (const TYPE *)first + i * stride;
        KEY best = LOWEST;
        int passing = 0;
        for (int c = 0; c < channels; c++)
            passing += LOAD(row[c]) >= limit;
        if (!passing)
            continue;
        for (int c = 0; c < channels; c++)
            best = NAME(larger)(LOAD(row[c]), best);
        found += NAME(hit)(row, 1, channels, i, best, hits + found);
    }
    return found;
}

static int NAME(best)(const void *values, size_t stride, int channels, npud_value *best)
{
    const TYPE *first = values;
    KEY top = LOWEST;
    int class_id = -1;
    for (int c = 0; c < channels; c++) {
        KEY value = LOAD(first[(size_t)c * stride]);
        if (value > top || (class_id < 0 && value == top && !IS_NAN(value))) {
            top = value;
            class_id = c;
        }
    }
    *best = VALUE(top);
    return class_id;
}

static size_t NAME(scan_listed)(const void *first, size_t stride, int channels, size_t cells,
                                npud_value threshold, const npud_hit *listed, size_t count,
                                npud_hit *hits)
{
    size_t found = 0;
    (void)cells;
    for (size_t i = 0; i < count; i++) {
        npud_value best;
        int class_id =
            NAME(best)((const TYPE *)first + listed[i].cell, stride, channels, &best);
        if (class_id >= 0 && VALUE_REACHES(best, threshold))
            hits[found++] = (npud_hit){listed[i].cell, (uint32_t)class_id, best};
    }
    return found;
}

#undef NAME
#undef TYPE
#undef KEY
#undef LOWEST
#undef LOAD
#undef THRESHOLD
#undef VALUE
#undef IS_NAN
#undef VALUE_REACHES
