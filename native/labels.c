/* Every label of the cells that were kept, as one-to-one heads (YOLOv10, YOLO26) give them in their
 * graph: the best max_detections cells, and of those the best max_detections (cell, class) pairs. */
#include <stdlib.h>

#include "decoder.h"

int npud_labels_init(npud_labels *labels, size_t cells, size_t most, size_t classes)
{
    labels->most = most;
    labels->boxes = malloc(most * sizeof *labels->boxes);
    labels->cells = malloc(most * sizeof *labels->cells);
    labels->ordinals = malloc(cells * sizeof *labels->ordinals);
    labels->values = malloc(classes * sizeof *labels->values);
    labels->keys = malloc((most * classes + 1) * sizeof *labels->keys);
    labels->spare = malloc((most * classes + 1) * sizeof *labels->spare);
    return labels->boxes && labels->cells && labels->ordinals && labels->values && labels->keys &&
                   labels->spare
               ? 0
               : -1;
}

void npud_labels_free(npud_labels *labels)
{
    free(labels->boxes);
    free(labels->cells);
    free(labels->ordinals);
    free(labels->values);
    free(labels->keys);
    free(labels->spare);
}

void npud_labels_keep(npud_labels *labels, size_t index, uint64_t key, const npud_box *box)
{
    uint32_t cell = npud_key_cell(key);
    labels->boxes[index] = *box;
    labels->cells[index] = cell;
    labels->ordinals[cell] = (uint32_t)index;
}

size_t npud_labels_pairs(npud_decoder *d, size_t kept)
{
    npud_labels *labels = &d->labels;
    size_t count = 0;
    for (size_t i = 0; i < kept; i++) {
        uint32_t cell = labels->cells[i];
        const npud_level *level = npud_level_of(d, cell);
        size_t offset = npud_cell_offset(level, &level->cls, cell - level->first_cell);
        npud_view_reals(d, &level->cls, offset, (size_t)d->num_classes, labels->values);
        for (int c = 0; c < d->num_classes; c++)
            if (labels->values[c] >= level->cls.least)
                labels->keys[count++] = npud_key(labels->values[c], (unsigned)c, cell);
    }
    npud_sort(labels->keys, labels->spare, count);
    return count < labels->most ? count : labels->most;
}
