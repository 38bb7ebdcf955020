/* One frame: scan, select, score. */
#include "decoder.h"

typedef struct {
    npud_decoder *decoder;
    const npud_detections *out;
} frame;

static int has_objectness(const npud_decoder *d, const npud_level *level)
{
    return level->gate.tensor >= 0 && !level->gate_is_sum && d->head != NPUD_END2END;
}

static float score_of(const npud_decoder *d, uint64_t key)
{
    float rank = npud_key_rank(key), score = rank < 1.0f ? rank : 1.0f;
    if (d->logits) {
        const npud_level *level = npud_level_of(d, npud_key_cell(key));
        uint32_t cell = npud_key_cell(key) - level->first_cell;
        if (!has_objectness(d, level)) /* else the rank is a product of probabilities */
            score = npud_view_probability(d, &level->cls,
                                          npud_cell_offset(level, &level->cls, cell),
                                          npud_key_class(key));
    }
    return score > d->score_floor ? score : d->score_floor;
}

static int is_no_probability(float x) { return x < -0.01f || x > 1.01f; }

/* Whether the frame's best detection has a "probability" that cannot be one. */
static int contradicts(const npud_decoder *d, uint64_t key)
{
    const npud_level *level = npud_level_of(d, npud_key_cell(key));
    uint32_t cell = npud_key_cell(key) - level->first_cell;
    size_t offset = npud_cell_offset(level, &level->cls, cell);
    if (is_no_probability(npud_key_rank(key)))
        return 1;
    if (has_objectness(d, level) &&
        is_no_probability(npud_view_real(d, &level->gate,
                                         npud_cell_offset(level, &level->gate, cell), 0)))
        return 1;
    for (int c = 0; d->head != NPUD_END2END && c < d->num_classes; c++)
        if (is_no_probability(npud_view_real(d, &level->cls, offset, (size_t)c)))
            return 1;
    return 0;
}

static void write(const frame *f, size_t index, uint64_t key, const npud_box *box)
{
    float *out = f->out->boxes + 4 * index;
    out[0] = box->x1;
    out[1] = box->y1;
    out[2] = box->x2;
    out[3] = box->y2;
    f->out->scores[index] = score_of(f->decoder, key);
    f->out->class_ids[index] = (int32_t)npud_key_class(key);
}

static void keep(void *target, size_t index, uint64_t key, const npud_box *box)
{
    const frame *f = target;
    if (f->decoder->multi_label)
        npud_labels_keep(&f->decoder->labels, index, key, box);
    else
        write(f, index, key, box);
    if (index == 0 && !f->decoder->logits)
        f->decoder->contradictions += (uint64_t)contradicts(f->decoder, key);
}

size_t npud_decode(npud_decoder *d, const npud_detections *out)
{
    frame f = {d, out};
    size_t kept = npud_select(&d->selector, npud_scan(d), npud_decode_boxes, d, keep, &f);
    if (!d->multi_label)
        return kept;
    size_t pairs = npud_labels_pairs(d, kept);
    for (size_t i = 0; i < pairs; i++) {
        uint64_t key = d->labels.keys[i];
        write(&f, i, key, &d->labels.boxes[d->labels.ordinals[npud_key_cell(key)]]);
    }
    return pairs;
}
