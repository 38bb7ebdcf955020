/* The scans of one element type with vectors, for any instruction set.  Included once per type with
 *
 *   FN, FN_OUT, FN_PUBLIC   attributes of a function that is always inlined, of one that is called
 *                      for hits only, of a kernel
 *   VEC, VECTOR        a vector, and its size in bytes
 *   MASK(v)            an integer with MASK_BITS equal bits per byte of a vector of comparisons
 *   STAY(v)            keeps a vector in its register around a loop (compilers like to copy it)
 *   NAME(x), TYPE, DTYPE
 *   LOAD(p)            unaligned
 *   FOLD(falling, a, b), EQUAL(a, b)       as stored, see below
 *   KEY_OF(v), LARGER(a, b), SAME(a, b), REACHES(a, b), LOWEST, LARGEST_LANE(v)
 *                      exact order of the values; LARGER(a, b) is b where a is NaN
 *   FALLING(threshold), BOUND(threshold), LIMIT(threshold)
 *   FOLDS_EXACTLY      1 where the fold of values is their largest key
 *   GATHER(to, from, stride, count)        of gather.h
 *   SINGLE_HITS        up to so many hits in a vector are looked at one by one
 *   FEW_LISTED         the same of listed cells, of which no maximum is known yet
 *   VALUE(key)         a npud_value of a key in a lane
 *   IS_NAN(key)        whether LOWEST stands for NaN
 *   VALUE_REACHES(value, threshold)        of npud_values
 *
 * Nearly all cells miss the threshold, so a filter looks at all values with one instruction per
 * vector that also loads it: a running maximum.  Floats are compared as the integers of their bits:
 * for a threshold > 0 the signed maximum is ≥ its bits iff a value reaches it; for one ≤ 0 (FALLING)
 * the unsigned minimum is ≤ its bits, because negative numbers have the larger bits, rising with
 * their magnitude, and all positive ones pass.  NaN may pass the filter, never its absence: where it
 * lets anything pass, the same vectors are read again with the exact order. */

enum { NAME(LANES) = VECTOR / (int)sizeof(TYPE), NAME(BITS) = MASK_BITS * (int)sizeof(TYPE) };

typedef struct {
    VEC bound, limit;
    npud_value threshold;
    int falling; /* a constant wherever this is used */
} NAME(filter);

FN int NAME(first_lane)(uint64_t mask) { return __builtin_ctzll(mask) / NAME(BITS); }

FN uint64_t NAME(without)(uint64_t mask, int lane)
{
    return mask & ~(((1ull << NAME(BITS)) - 1) << (lane * NAME(BITS)));
}

FN uint64_t NAME(passing)(const NAME(filter) *f, VEC folded)
{
    return MASK(EQUAL(FOLD(f->falling, folded, f->bound), folded));
}

/* ---- one cell ---- */

/* The index of the first of `count` ≥ LANES neighbouring values that has the key; -1: none. */
FN int NAME(find)(const TYPE *p, size_t count, VEC key)
{
    enum { N = NAME(LANES) };
    const size_t last = count - N;
    size_t i = 0;
    for (; i + 3 * N <= last; i += 4 * N) {
        VEC a = SAME(KEY_OF(LOAD(p + i)), key), b = SAME(KEY_OF(LOAD(p + i + N)), key);
        VEC c = SAME(KEY_OF(LOAD(p + i + 2 * N)), key), d = SAME(KEY_OF(LOAD(p + i + 3 * N)), key);
        if (MASK(EITHER(EITHER(a, b), EITHER(c, d))))
            break;
    }
    for (;; i = i + N < last ? i + N : last) {
        i = i < last ? i : last;
        uint64_t m = MASK(SAME(KEY_OF(LOAD(p + i)), key));
        if (m)
            return (int)i + NAME(first_lane)(m);
        if (i == last)
            return -1;
    }
}

/* The best of `count` ≥ LANES neighbouring values, and the index of the first that is; -1: NaN. */
FN int NAME(best_of)(const TYPE *p, size_t count, TYPE *value)
{
    enum { N = NAME(LANES) };
    const size_t last = count - N;
    VEC best = LARGER(KEY_OF(LOAD(p + last)), LOWEST), other = best;
    size_t i = 0;
    for (; i + 3 * N <= last; i += 4 * N) {
        best = LARGER(KEY_OF(LOAD(p + i)), best);
        other = LARGER(KEY_OF(LOAD(p + i + N)), other);
        best = LARGER(KEY_OF(LOAD(p + i + 2 * N)), best);
        other = LARGER(KEY_OF(LOAD(p + i + 3 * N)), other);
    }
    for (; i < last; i += N)
        best = LARGER(KEY_OF(LOAD(p + i)), best);
    best = LARGEST_LANE(LARGER(best, other));
    TYPE values[N];
    memcpy(values, &best, sizeof values);
    *value = values[0];
    return IS_NAN(values[0]) ? -1 : NAME(find)(p, count, best);
}

FN int NAME(best_of_row)(const TYPE *row, int channels, npud_value *best)
{
    if (channels < NAME(LANES))
        return npud_kernels_scalar.best[DTYPE](row, 1, channels, best);
    TYPE value;
    int class_id = NAME(best_of)(row, (size_t)channels, &value);
    *best = VALUE(value);
    return class_id;
}

/* Values that lie apart are brought together first. */
FN_OUT int NAME(best_of_column)(const TYPE *p, size_t stride, int channels, npud_value *best)
{
    enum { MOST = 1024 };
    TYPE row[MOST];
    if (channels < NAME(LANES) || channels > MOST)
        return npud_kernels_scalar.best[DTYPE](p, stride, channels, best);
    GATHER(row, p, stride, (size_t)channels);
    return NAME(best_of_row)(row, channels, best);
}

/* ---- planes: a vector holds one channel of neighbouring cells ---- */

FN uint64_t NAME(set_classes)(uint64_t found, uint64_t pending, int channel, uint16_t *classes)
{
    for (uint64_t m = found & pending; m; m = NAME(without)(m, NAME(first_lane)(m)))
        classes[NAME(first_lane)(m)] = (uint16_t)channel;
    return pending & ~found;
}

/* The lowest channel that holds each lane's best; returns the lanes where none does.  Four channels
 * at a time: 3 instructions a channel. */
FN uint64_t NAME(find_classes)(const TYPE *column, size_t stride, int channels, VEC best,
                               uint64_t pending, uint16_t *classes)
{
    int c = 0;
    for (; c + 4 <= channels && pending; c += 4) {
        const TYPE *p = column + (size_t)c * stride;
        VEC e0 = SAME(KEY_OF(LOAD(p)), best), e1 = SAME(KEY_OF(LOAD(p + stride)), best);
        VEC e2 = SAME(KEY_OF(LOAD(p + 2 * stride)), best);
        VEC e3 = SAME(KEY_OF(LOAD(p + 3 * stride)), best);
        if (!(MASK(EITHER(EITHER(e0, e1), EITHER(e2, e3))) & pending))
            continue;
        pending = NAME(set_classes)(MASK(e0), pending, c, classes);
        pending = NAME(set_classes)(MASK(e1), pending, c + 1, classes);
        pending = NAME(set_classes)(MASK(e2), pending, c + 2, classes);
        pending = NAME(set_classes)(MASK(e3), pending, c + 3, classes);
    }
    for (; c < channels && pending; c++) {
        VEC same = SAME(KEY_OF(LOAD(column + (size_t)c * stride)), best);
        pending = NAME(set_classes)(MASK(same), pending, c, classes);
    }
    return pending;
}

/* The hits among the cells of one vector, one by one. */
FN size_t NAME(single_hits)(const NAME(filter) *f, const TYPE *column, size_t stride, int channels,
                            uint64_t passing, uint32_t cell, npud_hit *hits)
{
    size_t found = 0;
    for (; passing; passing = NAME(without)(passing, NAME(first_lane)(passing))) {
        int lane = NAME(first_lane)(passing);
        npud_value best;
        int class_id = NAME(best_of_column)(column + lane, stride, channels, &best);
        if (class_id >= 0 && VALUE_REACHES(best, f->threshold))
            hits[found++] = (npud_hit){cell + (uint32_t)lane, (uint32_t)class_id, best};
    }
    return found;
}

/* The hits among the cells of one vector, all together. */
FN size_t NAME(vector_hits)(const NAME(filter) *f, const TYPE *column, size_t stride, int channels,
                            VEC folded, uint64_t lanes, uint32_t cell, npud_hit *hits)
{
    TYPE values[NAME(LANES)];
    uint16_t classes[NAME(LANES)];
    size_t found = 0;
    VEC best = folded;
    if (!FOLDS_EXACTLY) {
        best = LOWEST;
        for (int c = 0; c < channels; c++)
            best = LARGER(KEY_OF(LOAD(column + (size_t)c * stride)), best);
    }
    uint64_t passing = MASK(REACHES(best, f->limit)) & lanes;
    passing &= ~NAME(find_classes)(column, stride, channels, best, passing, classes);
    memcpy(values, &best, sizeof values);
    for (; passing; passing = NAME(without)(passing, NAME(first_lane)(passing))) {
        int lane = NAME(first_lane)(passing);
        hits[found++] = (npud_hit){cell + (uint32_t)lane, classes[lane], VALUE(values[lane])};
    }
    return found;
}

/* The hits among the cells of one vector, of which the filter found some; only `lanes` count. */
FN_OUT size_t NAME(column_hits)(const NAME(filter) *f, const TYPE *column, size_t stride,
                                int channels, VEC folded, uint64_t lanes, uint64_t passing,
                                uint32_t cell, npud_hit *hits)
{
    uint64_t rest = passing;
    for (int i = 0; i < SINGLE_HITS; i++)
        rest = rest ? NAME(without)(rest, NAME(first_lane)(rest)) : 0;
    if (SINGLE_HITS && !rest)
        return NAME(single_hits)(f, column, stride, channels, passing, cell, hits);
    return NAME(vector_hits)(f, column, stride, channels, folded, lanes, cell, hits);
}

FN VEC NAME(fold_column)(const NAME(filter) *f, const TYPE *p, size_t stride, int channels)
{
    VEC a = LOAD(p), b = a;
    int left = channels;
    for (; left >= 4; left -= 4, p += 4 * stride) {
        a = FOLD(f->falling, a, LOAD(p));
        b = FOLD(f->falling, b, LOAD(p + stride));
        a = FOLD(f->falling, a, LOAD(p + 2 * stride));
        b = FOLD(f->falling, b, LOAD(p + 3 * stride));
    }
    for (; left; left--, p += stride)
        a = FOLD(f->falling, a, LOAD(p));
    return FOLD(f->falling, a, b);
}

/* Folds eight channels of eight vectors side by side into `folded`. */
FN void NAME(fold_8x8)(const NAME(filter) *f, const TYPE *p, size_t stride, VEC *folded)
{
    enum { N = NAME(LANES) };
    VEC a = folded[0], b = folded[1], c = folded[2], d = folded[3];
    VEC e = folded[4], g = folded[5], h = folded[6], i = folded[7];
    for (int k = 0; k < 8; k++, p += stride) {
        a = FOLD(f->falling, a, LOAD(p));
        b = FOLD(f->falling, b, LOAD(p + N));
        c = FOLD(f->falling, c, LOAD(p + 2 * N));
        d = FOLD(f->falling, d, LOAD(p + 3 * N));
        e = FOLD(f->falling, e, LOAD(p + 4 * N));
        g = FOLD(f->falling, g, LOAD(p + 5 * N));
        h = FOLD(f->falling, h, LOAD(p + 6 * N));
        i = FOLD(f->falling, i, LOAD(p + 7 * N));
    }
    folded[0] = a, folded[1] = b, folded[2] = c, folded[3] = d;
    folded[4] = e, folded[5] = g, folded[6] = h, folded[7] = i;
}

/* Eight channels at a time along the whole block: 1.3 instructions a vector (NEON: 1.8), and the
 * memory is read in a few long runs, which the CPU's prefetcher needs.  The last eight channels may
 * overlap those before: folding twice changes nothing. */
FN void NAME(fold_planes)(const NAME(filter) *f, const TYPE *first, size_t stride, int channels,
                          size_t vectors, VEC *folded)
{
    enum { N = NAME(LANES), AT_ONCE = 8 };
    size_t v = 0, eights = channels < AT_ONCE ? 0 : vectors / 8 * 8;
    for (; v < eights; v++)
        folded[v] = LOAD(first + v * N);
    for (; v < vectors; v++)
        folded[v] = NAME(fold_column)(f, first + v * N, stride, channels);
    for (int c = 0; c < channels && eights; c += AT_ONCE) {
        const TYPE *p = first + (size_t)(c + AT_ONCE <= channels ? c : channels - AT_ONCE) * stride;
        for (v = 0; v < eights; v += 8)
            NAME(fold_8x8)(f, p + v * N, stride, folded + v);
    }
}

/* The hits of a single channel: no class to find. */
FN size_t NAME(lane_hits)(const NAME(filter) *f, VEC values, uint64_t lanes, uint32_t cell,
                          npud_hit *hits)
{
    TYPE keys[NAME(LANES)];
    size_t found = 0;
    VEC key = KEY_OF(values);
    memcpy(keys, &key, sizeof keys);
    lanes &= MASK(REACHES(key, f->limit));
    for (; lanes; lanes = NAME(without)(lanes, NAME(first_lane)(lanes))) {
        int lane = NAME(first_lane)(lanes);
        hits[found++] = (npud_hit){cell + (uint32_t)lane, 0, VALUE(keys[lane])};
    }
    return found;
}

FN VEC NAME(fold_8)(const NAME(filter) *f, const VEC *v)
{
    VEC a = FOLD(f->falling, FOLD(f->falling, v[0], v[1]), FOLD(f->falling, v[2], v[3]));
    VEC b = FOLD(f->falling, FOLD(f->falling, v[4], v[5]), FOLD(f->falling, v[6], v[7]));
    return FOLD(f->falling, a, b);
}

FN size_t NAME(planes)(const NAME(filter) *f, const TYPE *first, size_t stride, int channels,
                       size_t cells, npud_hit *hits)
{
    enum { N = NAME(LANES) };
    const uint64_t all = ~0ull >> (64 - N * NAME(BITS));
    const size_t vectors = cells / N;
    VEC folded[NPUD_SCAN_BLOCK / N];
    size_t found = 0, v = 0;
    NAME(fold_planes)(f, first, stride, channels, vectors, folded);
    while (v < vectors) {
        size_t end = v + 8 <= vectors ? v + 8 : vectors;
        if (v + 8 <= vectors && !NAME(passing)(f, NAME(fold_8)(f, folded + v)))
            v = end;
        for (; v < end; v++) {
            uint64_t passing = NAME(passing)(f, folded[v]);
            if (passing)
                found += NAME(column_hits)(f, first + v * N, stride, channels, folded[v], all,
                                           passing, (uint32_t)(v * N), hits + found);
        }
    }
    if (cells % N) { /* the last vector overlaps the one before */
        size_t start = cells - N;
        uint64_t lanes = all & (all << ((vectors * N - start) * NAME(BITS)));
        VEC last = NAME(fold_column)(f, first + start, stride, channels);
        uint64_t passing = NAME(passing)(f, last) & lanes;
        if (passing)
            found += NAME(column_hits)(f, first + start, stride, channels, last, lanes, passing,
                                       (uint32_t)start, hits + found);
    }
    return found;
}

/* Planes of a single channel: an objectness or a score sum. */
FN size_t NAME(line)(const NAME(filter) *f, const TYPE *first, size_t cells, npud_hit *hits)
{
    enum { N = NAME(LANES) };
    const uint64_t all = ~0ull >> (64 - N * NAME(BITS));
    size_t found = 0, i = 0;
    while (i + N <= cells) {
        size_t end = i + 8 * N <= cells ? i + 8 * N : cells / N * N;
        if (i + 8 * N <= cells) {
            const TYPE *p = first + i;
            VEC a = FOLD(f->falling, LOAD(p), LOAD(p + N));
            VEC b = FOLD(f->falling, LOAD(p + 2 * N), LOAD(p + 3 * N));
            a = FOLD(f->falling, a, LOAD(p + 4 * N));
            b = FOLD(f->falling, b, LOAD(p + 5 * N));
            a = FOLD(f->falling, a, LOAD(p + 6 * N));
            b = FOLD(f->falling, b, LOAD(p + 7 * N));
            if (!NAME(passing)(f, FOLD(f->falling, a, b)))
                i = end;
        }
        for (; i < end; i += N) {
            VEC v = LOAD(first + i);
            if (NAME(passing)(f, v))
                found += NAME(lane_hits)(f, v, all, (uint32_t)i, hits + found);
        }
    }
    if (i < cells) { /* the last vector overlaps the one before */
        size_t start = cells - N;
        uint64_t lanes = all & (all << ((i - start) * NAME(BITS)));
        VEC v = LOAD(first + start);
        found += NAME(lane_hits)(f, v, lanes, (uint32_t)start, hits + found);
    }
    return found;
}

FN size_t NAME(any_planes)(const NAME(filter) *f, const TYPE *first, size_t stride, int channels,
                           size_t cells, npud_hit *hits)
{
    if (channels == 1)
        return NAME(line)(f, first, cells, hits);
    return NAME(planes)(f, first, stride, channels, cells, hits);
}

FN_PUBLIC size_t NAME(scan_planes)(const void *first, size_t stride, int channels, size_t cells,
                                   npud_value threshold, npud_hit *hits)
{
    NAME(filter) f = {BOUND(threshold), LIMIT(threshold), threshold, 0};
    if (cells < NAME(LANES))
        return npud_kernels_scalar.scan_planes[DTYPE](first, stride, channels, cells, threshold, hits);
    if (!FALLING(threshold))
        return NAME(any_planes)(&f, first, stride, channels, cells, hits);
    f.falling = 1;
    return NAME(any_planes)(&f, first, stride, channels, cells, hits);
}

/* ---- listed cells of planes ---- */

/* Cells that fit a vector are looked at together, unless they are few. */
FN size_t NAME(listed)(const NAME(filter) *f, const TYPE *first, size_t stride, int channels,
                       size_t cells, const npud_hit *listed, size_t count, npud_hit *hits)
{
    enum { N = NAME(LANES), FEW = SINGLE_HITS > FEW_LISTED ? SINGLE_HITS : FEW_LISTED };
    size_t found = 0, i = 0, end;
    for (; i < count; i = end) {
        uint32_t start = listed[i].cell + N <= cells ? listed[i].cell : (uint32_t)(cells - N);
        const TYPE *column = first + start;
        uint64_t lanes = 0;
        for (end = i; end < count && listed[end].cell < start + N; end++)
            lanes |= 1ull << ((listed[end].cell - start) * NAME(BITS));
        if (end - i <= FEW) {
            found += NAME(single_hits)(f, column, stride, channels, lanes, start, hits + found);
        } else {
            VEC folded = NAME(fold_column)(f, column, stride, channels);
            if (NAME(passing)(f, folded) & lanes)
                found += NAME(vector_hits)(f, column, stride, channels, folded, lanes, start,
                                           hits + found);
        }
    }
    return found;
}

FN_PUBLIC size_t NAME(scan_listed)(const void *first, size_t stride, int channels, size_t cells,
                                   npud_value threshold, const npud_hit *listed, size_t count,
                                   npud_hit *hits)
{
    NAME(filter) f = {BOUND(threshold), LIMIT(threshold), threshold, 0};
    if (cells < NAME(LANES))
        return npud_kernels_scalar.scan_listed[DTYPE](first, stride, channels, cells, threshold,
                                                      listed, count, hits);
    if (!FALLING(threshold))
        return NAME(listed)(&f, first, stride, channels, cells, listed, count, hits);
    f.falling = 1;
    return NAME(listed)(&f, first, stride, channels, cells, listed, count, hits);
}

/* ---- rows: a vector holds neighbouring channels of one cell ---- */

/* Whether any of `count` ≥ LANES neighbouring values may reach the threshold. */
FN int NAME(any_passes)(const NAME(filter) *f, const TYPE *p, size_t count)
{
    enum { N = NAME(LANES) };
    const TYPE *last = p + count - N;
    VEC a = LOAD(last), b = a, c = a, d = a;
    for (; p + 7 * N <= last; p += 8 * N) {
        a = FOLD(f->falling, a, LOAD(p));
        b = FOLD(f->falling, b, LOAD(p + N));
        c = FOLD(f->falling, c, LOAD(p + 2 * N));
        d = FOLD(f->falling, d, LOAD(p + 3 * N));
        a = FOLD(f->falling, a, LOAD(p + 4 * N));
        b = FOLD(f->falling, b, LOAD(p + 5 * N));
        c = FOLD(f->falling, c, LOAD(p + 6 * N));
        d = FOLD(f->falling, d, LOAD(p + 7 * N));
        STAY(a);
        STAY(b);
        STAY(c);
        STAY(d);
    }
    for (; p + N <= last; p += 2 * N) {
        a = FOLD(f->falling, a, LOAD(p));
        b = FOLD(f->falling, b, LOAD(p + N));
        STAY(a);
        STAY(b);
    }
    if (p < last)
        c = FOLD(f->falling, c, LOAD(p));
    a = FOLD(f->falling, FOLD(f->falling, a, b), FOLD(f->falling, c, d));
    return NAME(passing)(f, a) != 0;
}

FN size_t NAME(row_hit)(const NAME(filter) *f, const TYPE *row, int channels, size_t cell,
                        npud_hit *hits)
{
    npud_value best;
    int class_id = NAME(best_of_row)(row, channels, &best);
    if (class_id < 0 || !VALUE_REACHES(best, f->threshold))
        return 0;
    *hits = (npud_hit){(uint32_t)cell, (uint32_t)class_id, best};
    return 1;
}

/* The hits among the rows from `cell` to `end`, one by one. */
FN size_t NAME(single_rows)(const NAME(filter) *f, const TYPE *first, size_t stride, int channels,
                            size_t cell, size_t end, npud_hit *hits)
{
    size_t found = 0;
    for (; cell < end; cell++)
        if (channels < NAME(LANES) ||
            NAME(any_passes)(f, first + cell * stride, (size_t)channels))
            found += NAME(row_hit)(f, first + cell * stride, channels, cell, hits + found);
    return found;
}

/* Whether any of sixteen vectors may reach the threshold. */
FN int NAME(block_passes)(const NAME(filter) *f, const TYPE *p)
{
    enum { N = NAME(LANES) };
    VEC a = LOAD(p), b = LOAD(p + N), c = LOAD(p + 2 * N), d = LOAD(p + 3 * N);
    a = FOLD(f->falling, a, LOAD(p + 4 * N));
    b = FOLD(f->falling, b, LOAD(p + 5 * N));
    c = FOLD(f->falling, c, LOAD(p + 6 * N));
    d = FOLD(f->falling, d, LOAD(p + 7 * N));
    a = FOLD(f->falling, a, LOAD(p + 8 * N));
    b = FOLD(f->falling, b, LOAD(p + 9 * N));
    c = FOLD(f->falling, c, LOAD(p + 10 * N));
    d = FOLD(f->falling, d, LOAD(p + 11 * N));
    a = FOLD(f->falling, a, LOAD(p + 12 * N));
    b = FOLD(f->falling, b, LOAD(p + 13 * N));
    c = FOLD(f->falling, c, LOAD(p + 14 * N));
    d = FOLD(f->falling, d, LOAD(p + 15 * N));
    a = FOLD(f->falling, FOLD(f->falling, a, b), FOLD(f->falling, c, d));
    return NAME(passing)(f, a) != 0;
}

/* The first value from `at` on that may reach the threshold; where there is none, `end`, or `at` if
 * that is beyond it.  Up to LANES - 1 values before `at` are read, but do not count. */
FN size_t NAME(next_passing)(const NAME(filter) *f, const TYPE *values, size_t at, size_t end)
{
    enum { N = NAME(LANES) };
    for (; at + 4 * N <= end; at += 4 * N) {
        const TYPE *p = values + at;
        VEC a = FOLD(f->falling, LOAD(p), LOAD(p + N));
        VEC b = FOLD(f->falling, LOAD(p + 2 * N), LOAD(p + 3 * N));
        if (NAME(passing)(f, FOLD(f->falling, a, b)))
            break;
    }
    for (; at + N <= end; at += N) {
        uint64_t m = NAME(passing)(f, LOAD(values + at));
        if (m)
            return at + (size_t)NAME(first_lane)(m);
    }
    if (at < end) {
        size_t start = end - N;
        uint64_t m = NAME(passing)(f, LOAD(values + start)) >> ((at - start) * NAME(BITS));
        return m ? at + (size_t)NAME(first_lane)(m) : end;
    }
    return at;
}

/* Rows without gaps are one run of values, sixteen vectors at a time.  Where a value passes, its row
 * is looked at, and the run goes on with the next row. */
FN size_t NAME(dense_rows)(const NAME(filter) *f, const TYPE *first, size_t width, size_t cells,
                           npud_hit *hits)
{
    const size_t total = cells * width, block = 16 * (size_t)NAME(LANES);
    size_t found = 0, at = 0;
    while (at < total) {
        size_t end = at + block <= total ? at + block : total;
        if (end - at == block && !NAME(block_passes)(f, first + at)) {
            at = end;
            continue;
        }
        while ((at = NAME(next_passing)(f, first, at, end)) < end) {
            size_t row = (uint32_t)at / (uint32_t)width;
            found += NAME(row_hit)(f, first + row * width, (int)width, row, hits + found);
            at = (row + 1) * width;
        }
    }
    return found;
}

FN size_t NAME(rows)(const NAME(filter) *f, const TYPE *first, size_t stride, int channels,
                     size_t cells, npud_hit *hits)
{
    if (stride == (size_t)channels && cells * stride >= NAME(LANES))
        return NAME(dense_rows)(f, first, stride, cells, hits);
    return NAME(single_rows)(f, first, stride, channels, 0, cells, hits);
}

FN_PUBLIC size_t NAME(scan_rows)(const void *first, size_t stride, int channels, size_t cells,
                                 npud_value threshold, npud_hit *hits)
{
    NAME(filter) f = {BOUND(threshold), LIMIT(threshold), threshold, 0};
    if (channels == 1 && stride == 1)
        return NAME(scan_planes)(first, cells, 1, cells, threshold, hits);
    if (channels < NAME(LANES) && stride != (size_t)channels)
        return npud_kernels_scalar.scan_rows[DTYPE](first, stride, channels, cells, threshold, hits);
    if (!FALLING(threshold))
        return NAME(rows)(&f, first, stride, channels, cells, hits);
    f.falling = 1;
    return NAME(rows)(&f, first, stride, channels, cells, hits);
}

FN_PUBLIC int NAME(best)(const void *values, size_t stride, int channels, npud_value *best)
{
    if (stride == 1)
        return NAME(best_of_row)(values, channels, best);
    return NAME(best_of_column)(values, stride, channels, best);
}

#undef NAME
#undef TYPE
#undef DTYPE
#undef FOLD
#undef EQUAL
#undef KEY_OF
#undef LARGER
#undef SAME
#undef REACHES
#undef LOWEST
#undef LARGEST_LANE
#undef FALLING
#undef BOUND
#undef LIMIT
#undef FOLDS_EXACTLY
#undef GATHER
#undef SINGLE_HITS
#undef VALUE
#undef IS_NAN
#undef VALUE_REACHES
