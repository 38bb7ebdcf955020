"""What no file says of a model: asked for, and left open where nobody answers.  Never guessed."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.drafting.facts import Known


@dataclass(frozen=True)
class Question:
    """What to ask.  Unless it is a mere record, detections depend on the answer."""

    text: str
    example: str  # as it would stand in the manifest
    record: bool = False


def questions_for(known: Known) -> dict[str, Question]:
    """Everything that the file leaves open, by key."""
    asked: dict[str, Question] = {}
    plan = known.plan
    asked["labels"] = Question("class names in the order of the class ids", '["person", "bicycle"]')
    if plan is None:
        asked["head"] = Question(
            f"the head is not recognised: {known.refusal}; dfl, ltrb, anchor, yolox, flat, "
            "boxes_scores or end2end",
            '"dfl"',
        )
        asked["activation"] = Question(
            "what do the class outputs hold: before or after the sigmoid? logits | probabilities",
            '"logits"',
        )
    if plan is None or plan.head == "anchor":
        of_coco = [
            [list(level.anchor) for level in plan.levels if level.stride == stride and level.anchor]
            for stride in plan.strides
        ] if plan else []  # fmt: skip
        what = "anchors as trained, per stride [width, height] in input pixels; "
        asked["anchors"] = Question(
            what + "only of an anchor head" if plan is None else what + "as YOLOv5 on COCO:",
            str(of_coco),
            record=plan is None,
        )
    if plan is None or plan.head != "end2end":
        asked["nms"] = Question(
            "suppression that suits the model: class | agnostic | none (one-to-one heads: YOLO26, "
            "YOLOv10)",
            '"class"',
        )
    return asked | _input(known) | _records(known)


def _input(known: Known) -> dict[str, Question]:
    fed = known.pixels.feed if known.pixels else ""
    asked = {
        "input.size": Question("height and width in pixels", "[640, 640]"),
        "input.color": Question("channel order it was trained with: rgb | bgr", '"rgb"'),
        "input.letterbox": Question(
            "how were pictures fitted in training: center | topleft | stretch", '"center"'
        ),
        "input.pad_value": Question(
            "grey value of the padding: 114 (Ultralytics), 127 (D-Robotics' zoo) or another", "114"
        ),
    }
    if not known.scales_itself:
        asked["input.mean"] = Question(
            "value fed = (pixel - mean) / std, per channel", "[0.0, 0.0, 0.0]"
        )
        asked["input.std"] = Question(
            "255 for a model that takes 0..1, 1 for one that takes 0..255 (YOLOX)",
            "[255.0, 255.0, 255.0]",
        )
    if fed == "nv12":
        asked["input.yuv_range"] = Question(
            "full: what the BPU computes RGB from; video: what the model zoo feeds", '"full"'
        )
    return asked


def _records(known: Known) -> dict[str, Question]:
    """For whoever asks later how this file came about; detections do not depend on them."""
    asked = {
        "conversion.source": Question("file name of the model it was made from", '"m.onnx"', True),
        "conversion.source_digest": Question(
            "digest of that file: sha256sum FILE | cut -c 1-12", '"0123456789ab"', True
        ),
    }
    if known.quantized:
        asked |= {
            "conversion.quantization": Question("type of the quantized tensors", '"int8"', True),
            "calibration.count": Question("number of calibration pictures", "20", True),
            "calibration.digest": Question(
                "digest of the list of pictures: sha256sum LIST | cut -c 1-12",
                '"0123456789ab"',
                True,
            ),
            "calibration.source": Question("where the pictures came from", '"coco_val"', True),
        }
    return asked
