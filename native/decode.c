/* One frame: scan, select, score. */
#include "decoder.h"

typedef struct {
    const npud_decoder *decoder;
    const npud_detections *out;
} frame;

static float score_of(const npud_decoder *d, float rank)
{
    float score = rank < 1.0f ? rank : 1.0f;
    if (d->logits)
        score = npud_sigmoid_at(&d->sigmoid, rank);
    return score > d->score_floor ? score : d->score_floor;
}

static void keep(void *target, size_t index, uint64_t key, const npud_box *box)
{
    const frame *f = target;
    float *out = f->out->boxes + 4 * index;
    out[0] = box->x1;
    out[1] = box->y1;
    out[2] = box->x2;
    out[3] = box->y2;
    f->out->scores[index] = score_of(f->decoder, npud_key_rank(key));
    f->out->class_ids[index] = (int32_t)npud_key_class(key);
}

size_t npud_decode(npud_decoder *d, const npud_detections *out)
{
    frame f = {d, out};
    return npud_select(&d->selector, npud_scan(d), npud_decode_boxes, d, keep, &f);
}
