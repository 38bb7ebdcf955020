/* Greedy NMS.  Candidates come in order; each is compared with the boxes kept so far (of its class),
 * so the work ends when enough are kept, and boxes further down are never decoded. */
#include <float.h>
#include <stdlib.h>

#include "kernels.h"

static const float INF = 1.0f / 0.0f;

static size_t padded(size_t count) { return (count + NPUD_LANES - 1) / NPUD_LANES * NPUD_LANES; }

int npud_selector_init(npud_selector *s, size_t capacity, size_t classes)
{
    size_t slots = capacity + (size_t)NPUD_LANES * (classes < capacity ? classes : capacity) + NPUD_LANES;
    s->capacity = capacity;
    s->classes = classes;
    s->nonfinite = 0;
    s->keys = malloc((capacity + 1) * sizeof *s->keys);
    s->spare = malloc((capacity + 1) * sizeof *s->spare);
    s->start = calloc(classes + 1, sizeof *s->start);
    s->kept = calloc(classes + 1, sizeof *s->kept);
    s->x1 = malloc(5 * slots * sizeof *s->x1);
    if (!s->keys || !s->spare || !s->start || !s->kept || !s->x1)
        return -1;
    s->y1 = s->x1 + slots;
    s->x2 = s->y1 + slots;
    s->y2 = s->x2 + slots;
    s->area = s->y2 + slots;
    return 0;
}

void npud_selector_free(npud_selector *s)
{
    free(s->keys);
    free(s->spare);
    free(s->start);
    free(s->kept);
    free(s->x1);
}

/* Give every class slots for as many boxes as it has candidates. */
static void assign_slots(npud_selector *s, size_t count)
{
    memset(s->kept, 0, s->classes * sizeof *s->kept);
    if (s->mode != NPUD_NMS_CLASS) {
        s->start[0] = 0;
        return;
    }
    for (size_t i = 0; i < count; i++)
        s->kept[npud_key_class(s->keys[i])]++;
    uint32_t next = 0;
    for (size_t c = 0; c < s->classes; c++) {
        s->start[c] = next;
        next += (uint32_t)padded(s->kept[c]);
        s->kept[c] = 0;
    }
}

static void clear_vector(npud_selector *s, size_t slot)
{
    for (size_t i = slot; i < slot + NPUD_LANES; i++) {
        s->x1[i] = s->y1[i] = INF; /* empty boxes overlap nothing */
        s->x2[i] = s->y2[i] = -INF;
        s->area[i] = 0.0f;
    }
}

/* Whether the box survives; remembers it if so. */
static int survives(npud_selector *s, unsigned class_id, const npud_box *box)
{
    if (s->mode == NPUD_NMS_NONE)
        return 1;
    size_t list = s->mode == NPUD_NMS_CLASS ? class_id : 0;
    size_t start = s->start[list], count = s->kept[list];
    npud_box_list kept = {s->x1 + start, s->y1 + start, s->x2 + start, s->y2 + start,
                          s->area + start};
    if (count && s->kernels->overlaps(&kept, count, box, s->iou_threshold))
        return 0;
    size_t slot = start + count;
    if (count % NPUD_LANES == 0)
        clear_vector(s, slot);
    s->x1[slot] = box->x1;
    s->y1[slot] = box->y1;
    s->x2[slot] = box->x2;
    s->y2[slot] = box->y2;
    s->area[slot] = box->area;
    s->kept[list]++;
    return 1;
}

static int is_finite(const npud_box *box)
{
    return box->x1 >= -FLT_MAX && box->x1 <= FLT_MAX && box->y1 >= -FLT_MAX && box->y1 <= FLT_MAX &&
           box->x2 >= -FLT_MAX && box->x2 <= FLT_MAX && box->y2 >= -FLT_MAX && box->y2 <= FLT_MAX;
}

static npud_box box_at(const npud_boxes *boxes, size_t i)
{
    npud_box box = {boxes->x1[i], boxes->y1[i], boxes->x2[i], boxes->y2[i], 0.0f};
    float width = box.x2 - box.x1, height = box.y2 - box.y1;
    box.area = (width > 0.0f ? width : 0.0f) * (height > 0.0f ? height : 0.0f);
    return box;
}

size_t npud_select(npud_selector *s, size_t count, npud_box_source source, const void *context,
                   npud_keep keep, void *target)
{
    npud_boxes boxes;
    size_t kept = 0;
    assign_slots(s, count);
    npud_sort(s->keys, s->spare, count);
    for (size_t first = 0; first < count; first += NPUD_BLOCK) {
        size_t block = count - first < NPUD_BLOCK ? count - first : NPUD_BLOCK;
        source(context, s->keys + first, block, &boxes);
        for (size_t i = 0; i < block; i++) {
            uint64_t key = s->keys[first + i];
            npud_box box = box_at(&boxes, i);
            if (npud_key_class(key) > NPUD_MAX_CLASSES - 1 || !is_finite(&box)) {
                s->nonfinite++;
            } else if (survives(s, npud_key_class(key), &box)) {
                keep(target, kept, key, &box);
                if (++kept == s->max_detections)
                    return kept;
            }
        }
    }
    return kept;
}
