/* Kept boxes of one class by where their centre lies, for lists so long that comparing with all of
 * them would take most of the time (8400 candidates of one class: 20 comparisons instead of 1300).
 *
 * It may only leave out boxes that do not overlap enough, so its bound is on the safe side.
 * IoU > t means inter > t · max(area, other area), and since inter's height is at most either height,
 * inter's width is > t · the wider width.  With w, v the two widths and d the distance of the centres,
 * inter's width is at most (w + v) / 2 - d and v < w / t, hence
 *     d < (w + v) / 2 - t · max(w, v) ≤ w · (1 - t) · max(1, 1 / 2t),   and also d < (w + widest v) / 2.
 * A thousandth of that and a millionth of the coordinates are added for rounding, which is enough for
 * boxes that npud_grid_takes; the few others stay in the list's own chain and meet everybody. */
#ifndef NPUD_GRID_H
#define NPUD_GRID_H

#include "kernels.h"

enum { NPUD_GRID_SIDE = 16, NPUD_GRID_CELLS = NPUD_GRID_SIDE * NPUD_GRID_SIDE };

typedef struct {
    float origin, per_pixel; /* cell = (centre - origin) * per_pixel */
    float widest;
} npud_grid_axis;

struct npud_grid {
    npud_grid_axis x, y;
    float reach;
    uint32_t heads[NPUD_GRID_CELLS];
};

/* Whether rounding errors are as small as the bound assumes. */
static inline int npud_grid_takes(const npud_box *box)
{
    const float far = 1e9f;
    return box->x1 > -far && box->y1 > -far && box->x2 < far && box->y2 < far &&
           box->area > 1e-6f && box->area < 1e18f;
}

void npud_grid_open(npud_grid *grid, const npud_pool *pool, uint32_t head, float iou_threshold);
/* The chain a box belongs to. */
uint32_t *npud_grid_chain(npud_grid *grid, const npud_box *box);
/* The chains of all boxes that may overlap `box`; their number, at most NPUD_GRID_CELLS. */
size_t npud_grid_near(const npud_grid *grid, const npud_box *box, uint32_t *heads);

#endif
