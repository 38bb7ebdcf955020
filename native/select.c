/* Greedy NMS.  Candidates come in order; each is compared with the boxes kept so far (of its class),
 * so the work ends when enough are kept, and boxes further down are never decoded. */
#include <float.h>
#include <stdlib.h>

#include "grid.h"

enum {
    GRID_FROM = 128, /* kept boxes of a class: from here on a grid pays */
    GRIDS = 4,       /* classes that can have one in a frame */
    ALIGNMENT = 64,
};

/* The most chunks a frame can fill: all full, one begun per chain, and those a grid has replaced. */
static size_t pool_size(const npud_selector *s)
{
    size_t chains = s->classes + (size_t)s->grids_most * NPUD_GRID_CELLS;
    size_t begun = s->capacity < chains ? s->capacity : chains;
    size_t replaced = s->grids_most * (GRID_FROM / NPUD_LANES + 1);
    return 1 + s->capacity / NPUD_LANES + begun + replaced;
}

/* The next part of one allocation, whole cache lines; only counts them while there is no base. */
static void *part(char *base, size_t *used, size_t bytes)
{
    void *start = base ? base + *used : NULL;
    *used += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return start;
}

static size_t lay_out(npud_selector *s, char *base)
{
    size_t used = 0, chunks = pool_size(s);
    s->keys = part(base, &used, (s->capacity + 1) * sizeof *s->keys);
    s->spare = part(base, &used, (s->capacity + 1) * sizeof *s->spare);
    s->lists = part(base, &used, (s->classes + 1) * sizeof *s->lists);
    s->pool.links = part(base, &used, chunks * sizeof *s->pool.links);
    s->pool.chunks = part(base, &used, chunks * sizeof *s->pool.chunks);
    s->grids = part(base, &used, (s->grids_most + 1) * sizeof *s->grids);
    return used;
}

int npud_selector_init(npud_selector *s, size_t capacity, size_t classes)
{
    s->capacity = capacity;
    s->classes = classes;
    s->nonfinite = 0;
    s->grids_most = capacity / GRID_FROM < GRIDS ? (uint32_t)(capacity / GRID_FROM) : GRIDS;
    s->memory = aligned_alloc(ALIGNMENT, lay_out(s, NULL));
    if (!s->memory)
        return -1;
    lay_out(s, s->memory);
    s->pool.links[0] = (npud_link){0, NPUD_LANES}; /* the end of a chain: no room */
    return 0;
}

void npud_selector_free(npud_selector *s)
{
    free(s->memory);
    s->memory = NULL;
}

static void add_to_chain(npud_pool *pool, uint32_t *head, const npud_box *box)
{
    if (pool->links[*head].count == NPUD_LANES) {
        memset(&pool->chunks[pool->used], 0, sizeof *pool->chunks); /* these overlap nothing */
        pool->links[pool->used] = (npud_link){*head, 0};
        *head = pool->used++;
    }
    npud_chunk *chunk = &pool->chunks[*head];
    uint32_t lane = pool->links[*head].count++;
    chunk->x1[lane] = box->x1;
    chunk->y1[lane] = box->y1;
    chunk->x2[lane] = box->x2;
    chunk->y2[lane] = box->y2;
    chunk->area[lane] = box->area;
}

static void add_to_list(npud_selector *s, npud_list *list, const npud_box *box)
{
    uint32_t *head = &list->head;
    if (list->grid && npud_grid_takes(box))
        head = npud_grid_chain(&s->grids[list->grid], box);
    add_to_chain(&s->pool, head, box);
    list->kept++;
}

/* Move the list's boxes into a grid of its own. */
static void open_grid(npud_selector *s, npud_list *list)
{
    const npud_list old = *list;
    *list = (npud_list){0, 0, ++s->grids_used};
    npud_grid_open(&s->grids[list->grid], &s->pool, old.head, s->iou_threshold);
    for (uint32_t i = old.head; i; i = s->pool.links[i].next)
        for (uint32_t k = 0; k < s->pool.links[i].count; k++) {
            const npud_chunk *chunk = &s->pool.chunks[i];
            npud_box box = {chunk->x1[k], chunk->y1[k], chunk->x2[k], chunk->y2[k], chunk->area[k]};
            add_to_list(s, list, &box);
        }
}

static npud_box box_at(const npud_boxes *boxes, size_t i)
{
    return (npud_box){boxes->x1[i], boxes->y1[i], boxes->x2[i], boxes->y2[i], boxes->area[i]};
}

static int overlaps_in_grid(const npud_selector *s, const npud_list *list, const npud_boxes *boxes,
                            size_t i)
{
    const npud_grid *grid = &s->grids[list->grid];
    uint32_t heads[NPUD_GRID_CELLS + 1];
    const npud_box box = box_at(boxes, i);
    size_t count = NPUD_GRID_CELLS;
    heads[0] = list->head; /* boxes the grid does not take */
    if (npud_grid_takes(&box))
        count = npud_grid_near(grid, &box, heads + 1);
    else
        memcpy(heads + 1, grid->heads, sizeof grid->heads);
    return s->kernels->overlaps(&s->pool, heads, count + 1, boxes, i, s->iou_threshold);
}

/* Whether the box survives; remembers it if so. */
static inline int survives(npud_selector *s, npud_list *list, const npud_boxes *boxes, size_t i)
{
    if (list->grid) {
        if (overlaps_in_grid(s, list, boxes, i))
            return 0;
    } else if (list->head) {
        if (s->kernels->overlaps(&s->pool, &list->head, 1, boxes, i, s->iou_threshold))
            return 0;
        if (list->kept == GRID_FROM && s->grids_used < s->grids_most)
            open_grid(s, list);
    }
    npud_box box = box_at(boxes, i);
    add_to_list(s, list, &box);
    return 1;
}

/* What a box needs: nothing (0: a coordinate is not finite), no comparison (its area is 0 or
 * infinite, its IoU with all others 0 or NaN), or comparison. */
enum { DROPPED, ALONE, COMPARED };

/* The areas and needs of a block; x - x is 0 for finite numbers only. */
static void measure(npud_boxes *b, size_t count, int32_t *needs)
{
    for (size_t i = 0; i < count; i++) {
        float width = b->x2[i] - b->x1[i], height = b->y2[i] - b->y1[i];
        float zero = ((b->x1[i] - b->x1[i]) + (b->y1[i] - b->y1[i])) +
                     ((b->x2[i] - b->x2[i]) + (b->y2[i] - b->y2[i]));
        float area = (width > 0.0f ? width : 0.0f) * (height > 0.0f ? height : 0.0f);
        int32_t finite = zero == 0.0f, large = area > 0.0f, bounded = area <= FLT_MAX;
        b->area[i] = area;
        needs[i] = finite + (finite & large & bounded);
    }
}

static void start(npud_selector *s, size_t count)
{
    memset(s->lists, 0, (s->mode == NPUD_NMS_CLASS ? s->classes : 1) * sizeof *s->lists);
    s->pool.used = 1;
    s->grids_used = 0;
    npud_sort(s->keys, s->spare, count);
}

size_t npud_select(npud_selector *s, size_t count, npud_box_source source, const void *context,
                   npud_keep keep, void *target)
{
    const unsigned by_class = s->mode == NPUD_NMS_CLASS ? NPUD_MAX_CLASSES : 0;
    const int most_needed = s->mode == NPUD_NMS_NONE ? ALONE : COMPARED;
    npud_boxes boxes;
    int32_t needs[NPUD_BLOCK];
    size_t kept = 0;
    start(s, count);
    for (size_t first = 0; first < count; first += NPUD_BLOCK) {
        size_t block = count - first < NPUD_BLOCK ? count - first : NPUD_BLOCK;
        source(context, s->keys + first, block, &boxes);
        measure(&boxes, block, needs);
        for (size_t i = 0; i < block; i++) {
            const uint64_t key = s->keys[first + i];
            const unsigned class_id = npud_key_class(key);
            if (needs[i] == DROPPED || class_id == NPUD_MAX_CLASSES) {
                s->nonfinite++;
                continue;
            }
            if (needs[i] == COMPARED && most_needed == COMPARED &&
                !survives(s, &s->lists[class_id & by_class], &boxes, i))
                continue;
            npud_box box = box_at(&boxes, i);
            keep(target, kept, key, &box);
            if (++kept == s->max_detections)
                return kept;
        }
    }
    return kept;
}
