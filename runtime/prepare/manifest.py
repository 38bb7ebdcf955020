"""The manifest beside a cut model: what npud must know of it on the board."""

from __future__ import annotations

import json
from typing import Any

import npud
from runtime import models
from runtime.detector import Detector
from runtime.prepare.cut import ACTIVATION, ROLES, Form
from runtime.prepare.head import Head


def manifest_of(uncut: Detector, head: Head, form: Form, golden: tuple[str, str] | None) -> str:
    """TOML for one variant; golden: names of the picture and the reference of a golden sample.

    No digest of the file is stated: the manifest is for what the file is converted to.
    """
    source = uncut.files.path
    lines = [
        "# Made by npud prepare: post-processing is cut off, the sigmoid runs on the "
        f"{form.sigmoid.upper()}.",
        "# Keep it beside the converted model, under the same name.",
        "",
    ]
    lines += [f"{key} = {_toml(value)}" for key, value in _keys(uncut, head, form).items()]
    lines += ["", "[input]"]
    spec = uncut.input
    for key in ("color", "letterbox", "pad_value", "mean", "std"):
        lines.append(f"{key} = {_toml(getattr(spec, key))}")
    lines += ["", "[conversion]"]
    made = {"toolkit": "npud prepare", "version": npud.__version__, "source": source.name}
    made["source_digest"] = models.digest(source)
    lines += [f"{key} = {_toml(value)}" for key, value in made.items()]
    if golden:
        lines += ["", "[golden]"]
        lines += [f"{key} = {_toml(name)}" for key, name in zip(("image", "reference"), golden)]
    return "\n".join(lines) + "\n"


def _keys(uncut: Detector, head: Head, form: Form) -> dict[str, Any]:
    labels, own = uncut.files.labels, uncut.files.manifest
    keys: dict[str, Any] = {"labels": labels} if labels else {"num_classes": head.classes}
    roles = {part.role for part in head.parts}
    if "all" in roles:
        keys["head"] = "anchor"
        keys["anchors"] = head.anchors
    elif "obj" in roles:
        keys["head"] = "yolox"
    else:
        channels = {part.raw.channels for part in head.parts if part.role == "box"}
        keys["head"] = "ltrb" if channels == {4} else "dfl"
        first = ROLES[form.board].index("box") < ROLES[form.board].index("cls")
        keys["order"] = "box,cls" if first else "cls,box"
    keys["activation"] = ACTIVATION[form.sigmoid]
    nms = "none" if head.one_to_one else own.nms
    if nms:
        keys["nms"] = nms
    if head.one_to_one or own.multi_label:
        keys["multi_label"] = True
    return keys


def _toml(value: Any) -> str:
    """TOML of texts, numbers, booleans and lists: JSON's, which is a subset of it for these."""
    return json.dumps(value, ensure_ascii=False)
