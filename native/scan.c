/* Find the candidates: cells whose best class value reaches the threshold, in the tensor's domain. */
#include "decoder.h"

static const float INF = 1.0f / 0.0f;

static size_t scan_classes(const npud_decoder *d, const npud_level *level, uint64_t *keys)
{
    const npud_view *view = &level->cls;
    const float *cls = npud_view_f32(d, view);
    npud_hit hits[NPUD_SCAN_BLOCK];
    int planes = view->cell_stride == 1;
    npud_scan_kernel scan = planes ? d->kernels->scan_planes[NPUD_FLOAT32]
                                   : d->kernels->scan_rows[NPUD_FLOAT32];
    size_t stride = planes ? view->channel_stride : view->cell_stride, count = 0;
    for (uint32_t first = 0; first < level->cells; first += NPUD_SCAN_BLOCK) {
        size_t left = level->cells - first;
        size_t found = scan(cls + first * view->cell_stride, stride, d->num_classes,
                            left < NPUD_SCAN_BLOCK ? left : NPUD_SCAN_BLOCK,
                            (npud_value){.real = d->threshold}, hits);
        for (size_t i = 0; i < found; i++)
            keys[count++] = npud_key(hits[i].best.real, hits[i].class_id,
                                     level->first_cell + first + hits[i].cell);
    }
    return count;
}

/* flat with objectness: classes are read only where the objectness reaches the threshold. */
static size_t scan_objectness(const npud_decoder *d, const npud_level *level, uint64_t *keys)
{
    const float *obj = npud_view_f32(d, &level->obj), *cls = npud_view_f32(d, &level->cls);
    size_t count = 0;
    for (uint32_t i = 0; i < level->cells; i++) {
        float objectness = obj[i * level->obj.cell_stride];
        if (!(objectness >= d->threshold))
            continue;
        float best = -INF;
        int class_id = -1;
        for (int c = 0; c < d->num_classes; c++) {
            float value = cls[i * level->cls.cell_stride + (size_t)c * level->cls.channel_stride];
            if (value > best) {
                best = value;
                class_id = c;
            }
        }
        float rank = objectness * best;
        if (class_id >= 0 && rank >= d->threshold)
            keys[count++] = npud_key(rank, (unsigned)class_id, level->first_cell + i);
    }
    return count;
}

/* end2end: every row has one score and one class. */
static size_t scan_rows(const npud_decoder *d, const npud_level *level, uint64_t *keys)
{
    const float *scores = npud_view_f32(d, &level->obj), *cls = npud_view_f32(d, &level->cls);
    size_t count = 0;
    for (uint32_t i = 0; i < level->cells; i++) {
        float score = scores[i * level->obj.cell_stride];
        if (!(score >= d->threshold))
            continue;
        float value = cls[i * level->cls.cell_stride];
        unsigned class_id = NPUD_MAX_CLASSES;
        if (value >= 0.0f && value < (float)NPUD_MAX_CLASSES && value == (float)(int)value)
            class_id = (unsigned)value;
        keys[count++] = npud_key(score, class_id, level->first_cell + i);
    }
    return count;
}

size_t npud_scan(npud_decoder *d)
{
    size_t count = 0;
    for (int i = 0; i < d->levels_used; i++) {
        const npud_level *level = &d->levels[i];
        uint64_t *keys = d->selector.keys + count;
        if (d->head == NPUD_END2END)
            count += scan_rows(d, level, keys);
        else if (level->obj.tensor >= 0)
            count += scan_objectness(d, level, keys);
        else
            count += scan_classes(d, level, keys);
    }
    return count;
}
