"""Generated street scenes with labels in all three formats, the same boxes in each."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from runtime.scenes import LABELS, Street

SIZE = (640, 480)


def write(folder: Path, count: int, seed: int = 41) -> Path:
    """folder/{images,labels,Annotations}, instances.json and data.yaml; boxes in whole pixels."""
    for name in ("images", "labels", "Annotations"):
        (folder / name).mkdir(parents=True)
    images, annotations = [], []
    for number in range(1, count + 1):
        pixels, truth = Street(seed + number, SIZE).frame(30 + number)
        cv2.imwrite(str(folder / f"images/{number:04d}.png"), pixels)
        boxes = np.rint(truth.boxes).astype(int)
        images.append({"id": number, "file_name": f"{number:04d}.png"})
        lines, objects = [], []
        for (x1, y1, x2, y2), class_id in zip(boxes.tolist(), truth.class_ids.tolist()):
            w, h = x2 - x1, y2 - y1
            if w <= 0 or h <= 0:
                continue
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "category_id": 10 * class_id + 3,
                "bbox": [x1, y1, w, h], "area": w * h, "iscrowd": 0,
            })  # fmt: skip
            scaled = [(x1 + w / 2) / SIZE[0], (y1 + h / 2) / SIZE[1], w / SIZE[0], h / SIZE[1]]
            lines.append(" ".join(map(str, [class_id, *scaled])))
            objects.append(
                f"<object><name>{LABELS[class_id]}</name><difficult>0</difficult><bndbox>"
                f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
                "</bndbox></object>"
            )
        (folder / f"labels/{number:04d}.txt").write_text("\n".join(lines))
        xml = f"<annotation><filename>{number:04d}.png</filename>{''.join(objects)}</annotation>"
        (folder / f"Annotations/{number:04d}.xml").write_text(xml)
    # categories in another order, with other ids, than the model's classes
    categories = [{"id": 10 * i + 3, "name": name} for i, name in enumerate(LABELS)][::-1]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(document))
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(LABELS))
    (folder / "data.yaml").write_text(f"val: images\nnames:\n{names}")
    return folder
