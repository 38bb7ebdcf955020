/* See grid.h. */
#include "grid.h"

static void open_axis(npud_grid_axis *axis, float low, float high)
{
    axis->origin = low;
    axis->per_pixel = high - low > 1.0f ? (float)NPUD_GRID_SIDE / (high - low) : 0.0f;
    axis->widest = 0.0f;
}

/* Spans the centres of the boxes there are; later ones outside count as at the edge. */
void npud_grid_open(npud_grid *grid, const npud_pool *pool, uint32_t head, float iou_threshold)
{
    float low[2] = {1e9f, 1e9f}, high[2] = {-1e9f, -1e9f};
    for (uint32_t i = head; i; i = pool->links[i].next)
        for (uint32_t k = 0; k < pool->links[i].count; k++) {
            const npud_chunk *chunk = &pool->chunks[i];
            float centre[2] = {0.5f * (chunk->x1[k] + chunk->x2[k]),
                               0.5f * (chunk->y1[k] + chunk->y2[k])};
            for (int axis = 0; axis < 2; axis++) {
                low[axis] = centre[axis] < low[axis] ? centre[axis] : low[axis];
                high[axis] = centre[axis] > high[axis] ? centre[axis] : high[axis];
            }
        }
    open_axis(&grid->x, low[0], high[0]);
    open_axis(&grid->y, low[1], high[1]);
    float t = iou_threshold, half = 0.5f / (t > 1e-3f ? t : 1e-3f);
    grid->reach = t > 1e-3f ? (1.0f - t) * (half > 1.0f ? half : 1.0f) : 1e9f;
    memset(grid->heads, 0, sizeof grid->heads);
}

/* Rises with the position, so a range of positions is a range of cells. */
static int cell_at(const npud_grid_axis *axis, float position)
{
    float cell = (position - axis->origin) * axis->per_pixel;
    cell = cell > 0.0f ? cell : 0.0f;
    return cell < (float)(NPUD_GRID_SIDE - 1) ? (int)cell : NPUD_GRID_SIDE - 1;
}

uint32_t *npud_grid_chain(npud_grid *grid, const npud_box *box)
{
    float width = box->x2 - box->x1, height = box->y2 - box->y1;
    grid->x.widest = width > grid->x.widest ? width : grid->x.widest;
    grid->y.widest = height > grid->y.widest ? height : grid->y.widest;
    int column = cell_at(&grid->x, 0.5f * (box->x1 + box->x2));
    int row = cell_at(&grid->y, 0.5f * (box->y1 + box->y2));
    return &grid->heads[row * NPUD_GRID_SIDE + column];
}

static void range_of(const npud_grid_axis *axis, float reach, float low, float high, int *first,
                     int *last)
{
    float centre = 0.5f * (low + high), width = high - low;
    float by_ratio = reach * width, by_widest = 0.5f * (width + axis->widest);
    float far = by_ratio < by_widest ? by_ratio : by_widest;
    far = far * 1.001f + 1e-6f * ((low < 0.0f ? -low : low) + (high < 0.0f ? -high : high));
    *first = cell_at(axis, centre - far);
    *last = cell_at(axis, centre + far);
}

size_t npud_grid_near(const npud_grid *grid, const npud_box *box, uint32_t *heads)
{
    int left, right, top, bottom;
    size_t count = 0;
    range_of(&grid->x, grid->reach, box->x1, box->x2, &left, &right);
    range_of(&grid->y, grid->reach, box->y1, box->y2, &top, &bottom);
    for (int row = top; row <= bottom; row++)
        for (int column = left; column <= right; column++) {
            uint32_t head = grid->heads[row * NPUD_GRID_SIDE + column];
            heads[count] = head;
            count += head != 0;
        }
    return count;
}
