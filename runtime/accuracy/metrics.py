"""mAP by pycocotools; precision, recall and F1 from the same matches.

A detection is right if it is matched to an object of its class at IoU ≥ 0.5.  Matching is
pycocotools' own: per picture and class, the best score first, each detection takes the free object
it overlaps most; objects are taken once.  What a detection is matched to depends on better ones
only, so the matches at any score threshold are those of the detections that reach it.  Detections
matched to a crowd or to an object marked difficult count neither as right nor as wrong; per picture
and class the best 100 count, as in COCO's mAP.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npud.errors import BackendUnavailable
from runtime.accuracy.dataset import ClassMap, Picture
from runtime.accuracy.records import Result

ALL_AREAS, MOST = 0, 2  # places in pycocotools' arrays: any area, 100 detections
IOU_50 = 0


@dataclass(frozen=True)
class Counted:
    """Right and wrong detections at a score threshold; None where there is nothing to divide by."""

    threshold: float | None
    found: int
    right: int
    objects: int

    @property
    def precision(self) -> float | None:
        """Right detections of all detections."""
        return self.right / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        """Objects that are found of all objects."""
        return self.right / self.objects if self.objects else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of both: 2 right / (detections + objects)."""
        both = self.found + self.objects
        return 2 * self.right / both if both else None


@dataclass(frozen=True)
class ClassFigures:
    """Of one class; map50_95 and map50 are None where the labels have no object of it."""

    label: str
    map50_95: float | None
    map50: float | None
    deployed: Counted
    best: Counted


@dataclass(frozen=True)
class Figures:
    """Of all pictures: mAP is the mean over classes, counts are pooled over them."""

    images: int
    map50_95: float | None
    map50: float | None
    deployed: Counted
    best: Counted
    classes: tuple[ClassFigures, ...]


@dataclass(frozen=True, eq=False)
class _Scored:
    """Detections that count, of one class or all: their scores, and which are right."""

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    objects: int

    def at(self, threshold: float) -> Counted:
        reached = self.scores.astype(np.float32) >= np.float32(threshold)
        right = int((self.right & reached).sum())
        return Counted(threshold, int(reached.sum()), right, self.objects)

    def best(self) -> Counted:
        """At the threshold with the highest F1; of equal ones the highest threshold."""
        order = np.argsort(-self.scores, kind="stable")
        scores, right = self.scores[order], np.cumsum(self.right[order])
        last = np.flatnonzero(np.append(np.diff(scores) != 0, True)[: len(scores)])
        if not len(last) or not right[-1]:
            return Counted(None, 0, 0, self.objects)
        at = last[np.argmax(2 * right[last] / (last + 1 + self.objects))]
        return Counted(float(scores[at]), int(at) + 1, int(right[at]), self.objects)


def figures_of(
    pictures: Sequence[Picture], results: Sequence[Result], classes: ClassMap, threshold: float
) -> Figures:
    """Compare what was found in `pictures` with their labels; `threshold` is the deployed one."""
    if not pictures:
        return Figures(0, None, None, Counted(threshold, 0, 0, 0), Counted(None, 0, 0, 0), ())
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints what it does
        evaluation = _evaluation(pictures, results, classes)
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, ALL_AREAS, MOST]
    scored = _scored(evaluation, len(classes.labels))
    pooled = _Scored(
        np.concatenate([one.scores for one in scored]),
        np.concatenate([one.right for one in scored]),
        sum(one.objects for one in scored),
    )
    return Figures(
        len(pictures),
        _mean(precision),
        _mean(precision[IOU_50]),
        pooled.at(threshold),
        pooled.best(),
        tuple(
            ClassFigures(
                label,
                _mean(precision[:, :, place]),
                _mean(precision[IOU_50, :, place]),
                one.at(threshold),
                one.best(),
            )
            for place, (label, one) in enumerate(zip(classes.labels, scored))
        ),
    )


def _mean(precision: NDArray[np.float64]) -> float | None:
    """As pycocotools' summarize(): classes without an object are -1 and left out."""
    known = precision[precision > -1]
    return float(known.mean()) if len(known) else None


def pycocotools() -> tuple[Any, Any]:
    """Its classes COCO and COCOeval; raises BackendUnavailable where it is not installed."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise BackendUnavailable(
            f"expected pycocotools, got: {error}; remedy: pip install 'npud[workbench]'"
        ) from None
    return COCO, COCOeval


def _evaluation(pictures: Sequence[Picture], results: Sequence[Result], classes: ClassMap) -> Any:
    COCO, COCOeval = pycocotools()

    class Evaluation(COCOeval):  # type: ignore[misc, valid-type]
        """pycocotools sets `ignore` to `iscrowd`; here objects marked difficult are ignored too."""

        def _prepare(self) -> None:
            super()._prepare()
            for objects in self._gts.values():
                for one in objects:
                    one["ignore"] = one["ignore"] or one["skip"]

    sides = []
    for rows in (_objects(pictures, results, classes), _detections(results, classes)):
        side = COCO()
        side.dataset = {
            "images": [{"id": number} for number in range(len(pictures))],
            "categories": [{"id": place} for place in range(len(classes.labels))],
            "annotations": rows,
        }
        side.createIndex()
        sides.append(side)
    return Evaluation(*sides, "bbox")


def _objects(
    pictures: Sequence[Picture], results: Sequence[Result], classes: ClassMap
) -> list[dict[str, Any]]:
    """Labels as pycocotools wants them.  Ids start at 1: it takes a match with 0 for none."""
    rows: list[dict[str, Any]] = []
    for number, (picture, result) in enumerate(zip(pictures, results)):
        truth = picture.truth.sized(result.width, result.height)
        own = np.prod(truth.boxes[:, 2:], axis=1)
        areas = np.where(np.isnan(truth.areas), own, truth.areas)
        for index, class_id in enumerate(truth.classes.tolist()):
            if class_id in classes.truth:
                row = {
                    "id": len(rows) + 1,
                    "image_id": number,
                    "category_id": classes.truth[class_id],
                    "bbox": truth.boxes[index].tolist(),
                    "area": float(areas[index]),
                    "iscrowd": int(truth.crowd[index]),
                    "skip": bool(truth.skip[index]),
                }
                rows.append(row)
    return rows


def _detections(results: Sequence[Result], classes: ClassMap) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number, result in enumerate(results):
        places = [classes.model.get(class_id, -1) for class_id in result.classes.tolist()]
        for place, score, box in zip(places, result.scores.tolist(), result.boxes.tolist()):
            if place >= 0:
                x1, y1, x2, y2 = box
                row = {
                    "id": len(rows) + 1,
                    "image_id": number,
                    "category_id": place,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                    "score": score,
                }
                rows.append(row)
    return rows


class Resampler:
    """Figures of the same pictures drawn again, from matches that are made once."""

    def __init__(
        self,
        pictures: Sequence[Picture],
        results: Sequence[Result],
        classes: ClassMap,
        threshold: float,
    ) -> None:
        self._pictures, self._classes = len(pictures), len(classes.labels)
        self._threshold = threshold
        with contextlib.redirect_stdout(io.StringIO()):
            self._evaluation = _evaluation(pictures, results, classes)
            parameters = self._evaluation.params
            parameters.areaRng = parameters.areaRng[ALL_AREAS : ALL_AREAS + 1]
            parameters.areaRngLbl = parameters.areaRngLbl[ALL_AREAS : ALL_AREAS + 1]
            parameters.maxDets = parameters.maxDets[MOST : MOST + 1]
            self._evaluation.evaluate()
        self._matches = list(self._evaluation.evalImgs)  # class by class, picture by picture

    def figures(self, chosen: Sequence[int]) -> dict[str, float]:
        """mAP50-95, mAP50 and F1 (0 where there is none) of as many pictures, some repeated."""
        evaluation, each = self._evaluation, self._pictures
        evaluation.evalImgs = [
            self._matches[place * each + picture]
            for place in range(self._classes)
            for picture in chosen
        ]
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.accumulate()
        precision = evaluation.eval["precision"][:, :, :, 0, 0]
        scored = _scored(evaluation, self._classes)
        counted = [one.at(self._threshold) for one in scored]
        pooled = Counted(
            self._threshold,
            sum(one.found for one in counted),
            sum(one.right for one in counted),
            sum(one.objects for one in counted),
        )
        return {
            "mAP50-95": _mean(precision) or 0.0,
            "mAP50": _mean(precision[IOU_50]) or 0.0,
            "F1": pooled.f1 or 0.0,
        }


def _scored(evaluation: Any, classes: int) -> list[_Scored]:
    """Per class what pycocotools matched at IoU 0.5, any area."""
    per_class: list[list[dict[str, Any]]] = [[] for _ in range(classes)]
    everything = evaluation.params.areaRng[ALL_AREAS]
    for one in evaluation.evalImgs:
        if one is not None and one["aRng"] == everything:
            per_class[one["category_id"]].append(one)
    return [_scored_class(found) for found in per_class]


def _scored_class(found: list[dict[str, Any]]) -> _Scored:
    if not found:
        return _Scored(np.zeros(0), np.zeros(0, np.bool_), 0)
    scores = np.concatenate([one["dtScores"] for one in found])
    matched = np.concatenate([one["dtMatches"][IOU_50] for one in found]) > 0
    counts = ~np.concatenate([one["dtIgnore"][IOU_50] for one in found]).astype(np.bool_)
    objects = sum(int((np.asarray(one["gtIgnore"]) == 0).sum()) for one in found)
    return _Scored(scores[counts], matched[counts], objects)
