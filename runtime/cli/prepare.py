"""`npud prepare`: cut a model's post-processing off, for the NPU."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime import bundled
from runtime.detector import CANARY, CANARY_FRAME
from runtime.frame import Frame
from runtime.scenes import Street
from runtime.sources.images import read_image

if TYPE_CHECKING:
    from runtime.prepare.prepare import Prepared, Variant


@click.command(epilog="Exit code: 0 when the cut models find what the uncut one finds, else 1.")
@click.argument("model")
@click.option(
    "--layout",
    type=click.Choice(["rockchip", "drobotics"]),
    default="rockchip",
    show_default=True,
    help="Outputs as the board's model zoo has them: NCHW, box, cls; or NHWC, cls, box.",
)
@click.option(
    "--sigmoid",
    type=click.Choice(["cpu", "npu", "both"]),
    default="both",
    show_default=True,
    help="Who applies the sigmoid: npud (outputs are logits) or the NPU (probabilities).",
)
@click.option(
    "--score-sum", is_flag=True, help="Rockchip's third output, where the NPU has sigmoid."
)
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="DIR",
    help="Where to write.  [this directory]",
)
@click.option(
    "--image",
    type=click.Path(path_type=Path),
    help="Picture to compare uncut and cut models on.  [a generated street]",
)
@click.option(
    "--golden",
    type=click.Path(path_type=Path),
    metavar="IMAGE",
    help="Such a picture, written as the golden sample too: what is found in it on the board is "
    "judged at every start.  [none]",
)
@click.option("--force", is_flag=True, help="Replace files that exist.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of text.")
def command(
    model: str,
    layout: Any,
    sigmoid: str,
    score_sum: bool,
    folder: Path,
    image: Path | None,
    golden: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Cut the post-processing off a MODEL (.onnx), so that a board's toolchain gets raw heads.

    The head is found in the graph: the last tensors with a grid per stride, and what they mean.
    Written are NAME.cpu-sigmoid.onnx (class logits) and NAME.npu-sigmoid.onnx (probabilities), each
    with a manifest.  Then both are run: what they find must be what MODEL finds, or nothing is
    written.

    \b
    Example:
      npud prepare yolov8n.onnx --layout rockchip --image street.jpg -o prepared
    """
    from runtime.prepare.cut import Form
    from runtime.prepare.prepare import prepare

    kinds: list[Any] = ["cpu", "npu"] if sigmoid == "both" else [sigmoid]
    if score_sum and (layout != "rockchip" or "npu" not in kinds):
        raise click.UsageError("--score-sum needs --layout rockchip and --sigmoid npu or both")
    forms = [Form(layout, kind, score_sum) for kind in kinds]
    path = bundled.MODEL if model == "bundled" else Path(model)
    if image and golden:
        raise click.UsageError("--golden is a picture to compare on, too: give it or --image")
    picture = _picture(golden or image)
    done = prepare(path, forms, folder, picture, golden=golden is not None, force=force)
    sample = str(folder / f"{path.stem}.golden.png") if golden else None
    if as_json:
        click.echo(json.dumps({**_as_json(done), "golden": sample}, indent=1))
    else:
        click.echo(_as_text(done))
        click.echo(
            f"wrote {sample} and .npz: the golden sample"
            if sample
            else "no golden sample: give --golden IMAGE, a picture with objects the model knows"
        )


def _picture(image: Path | None) -> Frame:
    if image is not None:
        return Frame(read_image(image), name=str(image))
    return Frame(Street(*CANARY).frame(CANARY_FRAME)[0], name="a generated street")


def _as_text(done: Prepared) -> str:
    head = done.head
    lines = [f"{done.source}  {done.read_as}"]
    for stride in head.strides:
        shown = ", ".join(f"{part.role} {part.raw}" for part in head.of(stride))
        lines.append(f"  stride {stride:<3} {shown}")
    if head.anchors:
        lines.append(f"  anchors    {json.dumps(head.anchors)}  (read from the graph)")
    if head.one_to_one:
        lines.append("  one-to-one head: no NMS")
    if head.operations:
        lines.append(f"  cut off    {', '.join(sorted(head.operations))}")
    else:
        lines.append("  cut off    nothing: its outputs are raw heads already")
    for op, count in done.left.items():
        lines.append(f"  stays      {count} {op}, which NPUs often run slowly or in coarse steps")
    return "\n".join(lines + [line for one in done.variants for line in _variant(one)])


def _variant(one: Variant) -> list[str]:
    difference = one.difference
    return [
        f"wrote {one.path} and .toml",
        f"  {one.plan}",
        f"  {difference.count} detections above {difference.threshold:g} as the uncut model's, to "
        f"{difference.box_px:.2g} px and {difference.score:.2g} in score",
    ]


def _as_json(done: Prepared) -> dict[str, Any]:
    head = done.head
    return {
        "source": str(done.source),
        "read_as": str(done.read_as),
        "head": [
            {
                "role": part.role,
                "stride": part.raw.stride,
                "tensor": part.raw.name,
                "shape": part.raw.shape,
            }
            for stride in head.strides
            for part in head.of(stride)
        ],
        "classes": head.classes,
        "anchors": head.anchors,
        "one_to_one": head.one_to_one,
        "cut_off": sorted(head.operations),
        "left": done.left,
        "variants": [
            {
                "model": str(one.path),
                "manifest": str(one.path.with_suffix(".toml")),
                **dataclasses.asdict(one.form),
                "head": one.plan.head,
                "activation": one.plan.activation,
                "difference": dataclasses.asdict(one.difference),
            }
            for one in done.variants
        ],
    }
