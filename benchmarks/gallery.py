"""The gallery of broken models: what `npud probe` and `npud verify` say of each, as a table.

    python -m benchmarks.gallery MODELS_DIR DATA_DIR [--part broken|healthy] [--only NAME]
    python -m benchmarks.gallery --bundled
    python -m benchmarks.gallery MODELS_DIR DATA_DIR --held-out 4 [--only NAME]

MODELS_DIR holds yolov8n.onnx, yolo26n.onnx, yolov5n.onnx, bin/ and rknn/; DATA_DIR bus.jpg,
zidane.jpg and coco_val/images.  With --bundled the embedded model alone is broken.  Every case is
probed with the float model as the reference, and alone: "untold" means that pictures alone show no
difference, so that npud names nothing; a wrong cause is shown as WRONG.  Healthy models are probed
on two photos, ten pictures and two without objects.  Exit code: 0 without a WRONG.

--held-out probes broken and good models on so many pictures of DATA_DIR that no margin was set on,
and counts what is said of them.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.gallery_models import Case, Good, cases, good, write_manifest
from npud.errors import NpudError
from postprocess.tensor import TensorSpec
from runtime import bundled, config
from runtime.detector import CANARY_FRAME, Detector, read_model
from runtime.frame import Frame
from runtime.models import recording
from runtime.probe.probe import Report, probe
from runtime.scenes import Street
from runtime.sources.images import read_image

NAMES = ("yolov8n", "yolo26n", "yolov5n")
CELLS = "NHWC"
SEEN = 5  # each so many-th picture of COCO was looked at when margins were set
LOOKED_AT = 25  # and these when rules were mended for pictures alone (2026-11-20)
OBJECTS = 3
HOW = ("float model", "alone")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="*", metavar="MODELS_DIR DATA_DIR")
    parser.add_argument("--bundled", action="store_true", help="the embedded model alone")
    parser.add_argument("--part", choices=("broken", "healthy"))
    parser.add_argument("--only", choices=(*NAMES, "real", "street"))
    parser.add_argument("--held-out", type=int, metavar="N", help="on N other pictures: counts")
    given = parser.parse_args()
    if given.held_out:
        held_out(*given.folders, given.held_out, given.only)
        return
    parts = (given.part,) if given.part else ("broken", "healthy")
    wrong = 0
    if given.only in (None, "street"):
        wrong += _bundled(parts)
    if not given.bundled and given.only != "street":
        wrong += _all(*given.folders, parts, given.only)
    print(f"\n{wrong} wrong")
    raise SystemExit(1 if wrong else 0)


def named(path: Path, pictures: list[np.ndarray], reference: Path | None) -> tuple[str, str]:
    """(cause or "healthy" or an error, the golden verdict's level)."""
    settings = config.Config(model=config.Model(path=str(path)), backend=config.Backend(threads=1))
    try:
        report: Report = probe(settings, pictures, reference)
    except NpudError as error:
        return f"error: {error}"[:60], "–"
    level = report.verdict.level if report.verdict else "–"
    return (report.cause.name if report.cause else "healthy"), level


def street(seed: int = 30, size: tuple[int, int] = (400, 300)) -> np.ndarray:
    """A picture in which the embedded model finds ten objects."""
    return Street(seed, size).frame(CANARY_FRAME)[0]


def _bundled(parts: tuple[str, ...]) -> int:
    wrong = 0
    with tempfile.TemporaryDirectory() as place:
        pictures = {"street": street()}
        one = good(bundled.MODEL, pictures["street"], Path(place))
        if "broken" in parts:
            wrong += _broken(list(cases(one, Path(place), pictures["street"])), pictures)
        if "healthy" in parts:
            more = {f"street {n}": street(n, (640, 480)) for n in range(31, 37)}
            wrong += _healthy(one, pictures | more | empty(), ("street",))
    return wrong


def _all(models: Path, data: Path, parts: tuple[str, ...], only: str | None) -> int:
    photos = {p.name: read_image(p) for p in (data / "bus.jpg", data / "zidane.jpg")}
    coco = sorted((data / "coco_val" / "images").glob("*.jpg"))[::SEEN]
    pictures = photos | {p.name: read_image(p) for p in coco} | empty()
    wrong = 0
    for name in NAMES if only is None else [n for n in NAMES if n == only]:
        with tempfile.TemporaryDirectory() as place:
            one = good(models / f"{name}.onnx", photos["bus.jpg"], Path(place))
            if "broken" in parts:
                wrong += _broken(list(cases(one, Path(place), photos["bus.jpg"])), photos)
            if "healthy" in parts:
                wrong += _healthy(one, pictures, ("bus.jpg", "zidane.jpg", coco[0].name))
    if only in (None, "real") and "broken" in parts:
        with tempfile.TemporaryDirectory() as place:
            wrong += _broken(list(real(models, Path(place))), photos)
    return wrong


def held_out(models: Path, data: Path, count: int, only: str | None) -> None:
    """Print how often the right cause, none, or a wrong one is named on other pictures."""
    chosen = sorted((data / "coco_val" / "images").glob("*.jpg"))
    rest = [path for number, path in enumerate(chosen) if number >= LOOKED_AT and number % SEEN]
    print("| model | pictures | with the float model: right | untold | wrong |", end="")
    print(" alone: right | untold | wrong |\n|---|---|---|---|---|---|---|---|")
    for name in NAMES if only is None else [only]:
        with tempfile.TemporaryDirectory() as place:
            one = good(models / f"{name}.onnx", read_image(data / "bus.jpg"), Path(place))
            pictures = list(itertools.islice(_with_objects(one.uncut, rest), count))
            whole = [
                Case(f"good {form}", name, "healthy", path, one.uncut, "healthy")
                for form, path in one.forms.items()
            ]
            counts: Counter[str] = Counter()
            for picture, pixels in pictures:
                with tempfile.TemporaryDirectory(dir=place) as own:
                    for case in (*cases(one, Path(own), pixels), *whole):
                        _count(case, picture, pixels, counts)
        cells = [counts[f"{how} {what}"] for how in HOW for what in ("right", "untold", "wrong")]
        print(f"| {name} | {len(pictures)} | {' | '.join(map(str, cells))} |", flush=True)


def _count(case: Case, picture: str, pixels: np.ndarray, counts: Counter[str]) -> None:
    for how, reference in zip(HOW, (case.reference, None)):
        said, _ = named(case.path, [pixels], reference)
        wanted = (case.cause,) if reference else (case.cause, case.alone)
        what = "right" if said in wanted else "untold" if said == "healthy" else "wrong"
        counts[f"{how} {what}"] += 1
        if what != "right" and (what == "wrong" or reference):
            text = f"{case.model}, {case.name}, {picture}, {how}: {said}, not {case.cause}"
            print(text, file=sys.stderr)


def _with_objects(model: Path, paths: list[Path]) -> Iterator[tuple[str, np.ndarray]]:
    """The pictures in which a good model finds at least OBJECTS."""
    settings = config.Model(path=str(model))
    detector = Detector(read_model(settings), settings, config.Backend(threads=1))
    for path in paths:
        pixels = read_image(path)
        if len(detector.detect(Frame(pixels))[0]) >= OBJECTS:
            yield path.name, pixels
    detector.close()


def empty() -> dict[str, np.ndarray]:
    """Pictures without objects."""
    rng = np.random.default_rng(1)
    sky = np.linspace(110, 240, 480)[:, None, None] + np.array([20, 0, -20]) + np.zeros((1, 640, 1))
    sky = sky + rng.normal(0, 3, sky.shape)
    grey = np.full((480, 640, 3), 114, np.uint8)
    return {"plain grey": grey, "empty sky": sky.clip(0, 255).astype(np.uint8)}


def _broken(all_cases: list[Case], pictures: dict[str, np.ndarray]) -> int:
    print("\n| model | broken by | should be named | with the float model | npud verify | alone |")
    print("|---|---|---|---|---|---|")
    wrong = 0
    for case in all_cases:
        shown = pictures[case.picture] if case.picture in pictures else pictures["street"]
        started = time.perf_counter()
        with_reference, level = named(case.path, [shown], case.reference)
        alone, _ = named(case.path, [shown], None)
        told = (case.alone, case.cause, "untold")
        said = "untold" if alone == "healthy" and case.cause != "healthy" else alone
        cells = [_mark(with_reference, (case.cause,)), level, _mark(said, told)]
        wrong += sum("WRONG" in cell for cell in cells)
        seconds = time.perf_counter() - started
        print(f"| {case.model} | {case.name} | {case.cause} | {' | '.join(cells)} |", flush=True)
        print(f"{case.name}: {seconds:.1f} s", file=sys.stderr)
    return wrong


def _mark(said: str, wanted: tuple[str, ...]) -> str:
    return said if said in wanted else f"WRONG: {said}"


def _healthy(one: Good, pictures: dict[str, np.ndarray], judged: tuple[str, ...]) -> int:
    """Good forms on all pictures; with the float model on those of `judged`."""
    print("\n| good model | form | called healthy, with the float model | alone | otherwise |")
    print("|---|---|---|---|---|")
    wrong = 0
    for form, path in {"uncut": one.uncut, **one.forms}.items():
        sick = []
        right = [0, 0]
        for name, pixels in pictures.items():
            runs = [(1, None)] + ([(0, one.uncut)] if name in judged else [])
            for column, reference in runs:
                said, _ = named(path, [pixels], reference)
                right[column] += said == "healthy"
                if said != "healthy":
                    sick.append(f"WRONG: {name} {said}")
        wrong += len(sick)
        counts = f"{right[0]} of {len(judged)} | {right[1]} of {len(pictures)}"
        print(f"| {one.name} | {form} | {counts} | {'; '.join(sick) or '–'} |", flush=True)
    return wrong


def real(models: Path, folder: Path) -> Iterator[Case]:
    """The vendors' own outputs for bus.jpg: D-Robotics' simulator, and Rockchip's."""
    image = TensorSpec("images", (1, 960, 640), np.dtype(np.uint8), "nv12")
    head = {"head": "ltrb", "activation": "logits", "nms": "none", "multi_label": True}
    made = {}
    for stem in ("float", "int8", "int8_calibrated_twice_scaled"):
        made[stem] = folder / f"yolo26n_{stem}.npz"
        with np.load(models / "bin" / f"yolo26n_{stem}_bus.npz") as arrays:
            _record(made[stem], image, {name: arrays[name] for name in arrays.files}, CELLS)
        write_manifest(made[stem], head, {})
    yield Case(
        "healthy int8, RDK X5", "yolo26n.bin", "healthy", made["int8"], made["float"], "healthy"
    )
    yield Case(
        "calibration data scaled twice",
        "yolo26n.bin",
        "collapsed_logits",
        made["int8_calibrated_twice_scaled"],
        made["float"],
        "untold",
    )
    path = folder / "yolov8n_rknn.npz"
    image = TensorSpec("images", (1, 640, 640, 3), np.dtype(np.uint8), "nhwc")
    with np.load(models / "rknn" / "yolov8n_rk3588_i8.rknn.sim_bus.npz") as arrays:
        names = sorted(arrays.files, key=lambda name: int(name[4:]))
        _record(path, image, {name: arrays[name] for name in names}, "NCHW")
    write_manifest(path, {"head": "dfl", "activation": "probabilities"}, {})
    yield Case(
        "healthy int8, RK3588", "yolov8n.rknn", "healthy", path, models / "yolov8n.onnx", "healthy"
    )


def _record(path: Path, image: TensorSpec, arrays: dict[str, np.ndarray], cells: str) -> None:
    layout = "nhwc" if cells == CELLS else "nchw"
    specs = [TensorSpec(name, a.shape, a.dtype, layout) for name, a in arrays.items()]
    recording.save(path, [image], specs, [list(arrays.values())])


if __name__ == "__main__":
    main()
