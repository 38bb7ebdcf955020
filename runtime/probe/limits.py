"""From which figures on a cause is named: every limit with its reason (docs/probe.md has more)."""

from __future__ import annotations

# Without a reference.  Figures: yolov8n, yolo26n, yolov5n on 52 pictures (docs/probe.md).
FLOOD_SHARE = 0.15  # of the cells pass: healthy at most 0.02 (0.05 in another domain), broken 0.1…1
FLOOD_COUNT = 20  # as many detections that are not found again in the mirrored picture are noise:
FLOOD_REPEATED = 0.35  # healthy 0.67…1, unscaled pixels at most 0.23
REPEATED = 0.6  # a setting that is right is found again in the mirrored picture
LEAST_MASS = 1.0  # summed scores that a setting must give where the deployed one gives nothing
BETTER_MASS = 1.5  # times the summed scores: healthy models fed otherwise gain at most 1.2 times
MANY_PICTURES = 8  # from which on a smaller gain says something:
BETTER_MASS_MANY = 1.1  # a swapped yolov8n has 0.85 times the summed scores on 8 pictures
BETTER_TIGHT = 0.1  # box readings: right 0.79…0.86, wrong at most 0.67
BETTER_REPEATED = 0.25  # the same for heads without NMS: right 0.83…1, wrong at most 0.67
LEAST_COUNT = 3  # fewer boxes agree by chance
RARE = 0.8  # of a mean and std of its own: a scale alone does nearly the same, and is more common
UNTOLD = frozenset({"wrong_letterbox", "wrong_padding"})  # differ too little on pictures alone
MILD = frozenset({"swapped_channels"})  # makes neither a flood nor silence
SCORES_ONLY = frozenset({"double_sigmoid", "missing_sigmoid"})  # causes that leave boxes alone

# With a reference: detections as near as the same model's.
HALVED = 0.5  # the setting must leave at most half of the distance to the reference
NEARER = 0.03  # and come nearer by this much: a healthy int8 model lies 0.05…0.1 away
SAME = 0.995  # as near come only the same weights in floats, and then a smaller gain counts:
NEARER_SAME = 0.005
UNLIKE = 0.5  # correlation of class logits below which they have nothing to do with each other
SLOPE = (0.8, 1.25)  # of class logits against the reference's; healthy int8: 0.95…1.05
SHIFT = 1.0  # of class logits: the golden sample's own limit
LIKELY = 0.1  # scores from which on their ratio to the reference's counts
ALIKE = 0.05  # all ratios are within 5 % of each other, and below 0.95
LEAST_PAIRS = 8  # of logits that are compared

ODD_TIGHT = 0.1  # a dense head below: its boxes do not agree with each other
