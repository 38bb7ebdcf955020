"""Choose a diverse subset: farthest-point selection on cheap descriptors, the same every time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.calib.checks import FLAT_CONTRAST
from runtime.calib.sample import Sample

# Weights of the parts; each part's largest possible squared distance is about 1 before.
COLOURS, STRUCTURE, LIGHT = 1.0, 0.5, 1.0


def pick(samples: list[Sample], number: int) -> list[Sample]:
    """Up to `number` pictures, most different first; flat ones only when nothing else is left.

    Gonzalez (1985): start with the picture nearest to the mean, then always the one that is
    farthest from all chosen; ties go to the first in the list.
    """
    useful = [s for s in samples if s.contrast >= FLAT_CONTRAST] or samples
    if not useful:
        return []
    points = descriptors(useful)
    chosen = [int(np.argmin(((points - points.mean(0)) ** 2).sum(1)))]
    distance = ((points - points[chosen[0]]) ** 2).sum(1)
    while len(chosen) < min(number, len(useful)):
        distance[chosen] = -1
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(1))
    return [useful[k] for k in chosen]


def descriptors(samples: list[Sample]) -> NDArray[np.float64]:
    """(N, D): colours (Hellinger distance), structure (hash), light, contrast and aspect."""
    rows = [
        np.concatenate([
            COLOURS * np.sqrt(sample.histogram / 2),
            STRUCTURE * sample.hash / 8,
            LIGHT * np.array([sample.brightness / 255, sample.contrast / 128]),
            [np.log2(sample.aspect) / 2],
        ])
        for sample in samples
    ]  # fmt: skip
    return np.array(rows, np.float64)
