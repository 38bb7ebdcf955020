"""Train the bundled detector from generated street scenes alone, and write it as ONNX.

    pip install torch==2.13.0 numpy opencv-python onnx
    PYTHONPATH=. python tools/train_bundled.py

writes runtime/bundled/street.onnx and runtime/bundled/street.toml. With the default settings this
takes about 15 minutes on two otherwise idle cores of a server CPU; no GPU is used. First the scenes
are rendered into a cache (3 GB in the directory for temporary files), which later runs reuse.

The network is a small fully convolutional detector without anchors: 3x3 and 1x1 convolutions, ReLU,
upsampling and concatenation only. Its heads tell, per cell of strides 8, 16 and 32, the distances
from the cell's centre to the four sides in units of the stride, and one logit per class.
"""

from __future__ import annotations

import argparse
import copy
import functools
import math
import multiprocessing
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any, Protocol, cast

import cv2
import numpy as np
import onnx
import torch
from eval_bundled import SIDE, TRAIN_SEEDS, letterbox
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from runtime.scenes import LABELS, Street

STRIDES = (8, 16, 32)
MOST_OBJECTS = 48
SIZES = ((1280, 720), (1280, 720), (640, 360), (1920, 1080), (640, 480), (800, 600), (720, 720))
BUNDLED = Path(__file__).resolve().parents[1] / "runtime" / "bundled"
SCENES = BUNDLED.parent / "scenes"


# --- the network, described once for both torch and ONNX -----------------------------------------


class Builder(Protocol):
    """What can carry out the network's operations: torch to train it, ONNX to write it."""

    def conv(
        self, name: str, x: Any, c_in: int, c_out: int, k: int, stride: int = 1, act: bool = True
    ) -> Any:
        """Convolve; with ``act``, normalise the batch and rectify."""

    def cat(self, *xs: Any) -> Any:
        """Concatenate channels."""

    def up(self, x: Any) -> Any:
        """Repeat every pixel twice in both directions."""

    def pool(self, x: Any) -> Any:
        """Take the maximum over 5x5 pixels."""

    def add(self, x: Any, y: Any) -> Any:
        """Add."""

    def positive(self, x: Any) -> Any:
        """Softplus."""


def _stage(b: Builder, name: str, x: Any, c: int, repeats: int) -> Any:
    """Pass half of the channels through residual blocks and keep what each of them gave."""
    half = c // 2
    y = b.conv(f"{name}.in", x, c, half, 1)
    parts = [b.conv(f"{name}.skip", x, c, half, 1), y]
    for number in range(repeats):
        inner = b.conv(f"{name}.{number}.a", y, half, half, 3)
        y = b.add(y, b.conv(f"{name}.{number}.b", inner, half, half, 3))
        parts.append(y)
    return b.conv(f"{name}.out", b.cat(*parts), half * len(parts), c, 1)


def detector(b: Builder, image: Any) -> list[Any]:
    """Build the network; the outputs are box_8, cls_8, box_16, cls_16, box_32, cls_32."""
    x = b.conv("stem", image, 3, 16, 3, 2)
    x = b.conv("down4", x, 16, 24, 3, 2)
    x = b.conv("mix4", x, 24, 24, 3)
    p8 = _stage(b, "stage8", b.conv("down8", x, 24, 48, 3, 2), 48, 1)
    p16 = _stage(b, "stage16", b.conv("down16", p8, 48, 96, 3, 2), 96, 2)
    p32 = _stage(b, "stage32", b.conv("down32", p16, 96, 128, 3, 2), 128, 1)
    y = b.conv("pool.in", p32, 128, 64, 1)
    pools = [y]
    for _ in range(3):
        pools.append(b.pool(pools[-1]))
    p32 = b.conv("pool.out", b.cat(*pools), 256, 96, 1)
    t16 = b.conv("top16.in", b.cat(b.up(p32), p16), 192, 64, 1)
    t16 = b.conv("top16.out", t16, 64, 64, 3)
    t8 = b.conv("top8.in", b.cat(b.up(t16), p8), 112, 48, 1)
    n8 = b.conv("top8.out", t8, 48, 48, 3)
    n16 = b.conv("low16.in", b.cat(b.conv("low16.down", n8, 48, 48, 3, 2), t16), 112, 64, 1)
    n16 = b.conv("low16.out", n16, 64, 64, 3)
    n32 = b.conv("low32.in", b.cat(b.conv("low32.down", n16, 64, 64, 3, 2), p32), 160, 96, 1)
    n32 = b.conv("low32.out", n32, 96, 96, 3)
    outputs = []
    for stride, level, c in ((8, n8, 48), (16, n16, 64), (32, n32, 96)):
        box = b.conv(f"box{stride}.a", level, c, 48, 3)
        outputs.append(b.positive(b.conv(f"box{stride}.b", box, 48, 4, 1, act=False)))
        kind = b.conv(f"cls{stride}.a", level, c, 32, 3)
        outputs.append(b.conv(f"cls{stride}.b", kind, 32, len(LABELS), 1, act=False))
    return outputs


class Layer(nn.Module):
    """A convolution, with batch normalisation and rectification behind it if wanted."""

    def __init__(self, c_in: int, c_out: int, k: int, stride: int, act: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, k, stride, k // 2, bias=not act)
        self.norm = nn.BatchNorm2d(c_out, eps=1e-3, momentum=0.03) if act else None

    def forward(self, x: Tensor) -> Tensor:
        """Run the layer."""
        y: Tensor = self.conv(x)
        return y if self.norm is None else functional.relu(self.norm(y), inplace=True)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return the weight and bias of one convolution that does the same, without ReLU."""
        weight = self.conv.weight.detach().double()
        if self.norm is None:
            assert self.conv.bias is not None
            return weight.float(), self.conv.bias.detach().float()
        mean, variance = self.norm.running_mean, self.norm.running_var
        assert mean is not None
        assert variance is not None
        gain = self.norm.weight.detach().double() / (variance.double() + self.norm.eps).sqrt()
        bias = self.norm.bias.detach().double() - mean.double() * gain
        return (weight * gain[:, None, None, None]).float(), bias.float()


class TorchNet(nn.Module):
    """The network in torch; its layers come into being when it first runs."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        detector(self, torch.zeros(1, 3, 64, 64))
        for stride in STRIDES:
            for name, value in ((f"cls{stride}.b", -math.log(8400 / 8)), (f"box{stride}.b", 1.5)):
                bias = self.layer(name).conv.bias
                assert bias is not None
                nn.init.constant_(bias, value)

    def layer(self, name: str) -> Layer:
        """Return a layer by the name it has in the description."""
        return cast(Layer, self.layers[name.replace(".", "_")])

    def conv(
        self, name: str, x: Tensor, c_in: int, c_out: int, k: int, stride: int = 1, act: bool = True
    ) -> Tensor:
        """Convolve; with ``act``, normalise the batch and rectify."""
        key = name.replace(".", "_")
        if key not in self.layers:
            self.layers[key] = Layer(c_in, c_out, k, stride, act)
        y: Tensor = self.layers[key](x)
        return y

    def cat(self, *xs: Tensor) -> Tensor:
        """Concatenate channels."""
        return torch.cat(xs, 1)

    def up(self, x: Tensor) -> Tensor:
        """Repeat every pixel twice in both directions."""
        return functional.interpolate(x, scale_factor=2.0, mode="nearest")

    def pool(self, x: Tensor) -> Tensor:
        """Take the maximum over 5x5 pixels."""
        return functional.max_pool2d(x, 5, 1, 2)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """Add."""
        return x + y

    def positive(self, x: Tensor) -> Tensor:
        """Softplus."""
        return functional.softplus(x)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the six heads."""
        return detector(self, image)


class OnnxNet:
    """Writes the network as ONNX nodes, with the normalisation folded into the convolutions."""

    def __init__(self, net: TorchNet) -> None:
        self.net = net
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.count = 0

    def _node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        self.count += 1
        name = f"{kind.lower()}_{self.count}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def _weight(self, name: str, value: np.ndarray[Any, Any]) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def conv(
        self, name: str, x: str, c_in: int, c_out: int, k: int, stride: int = 1, act: bool = True
    ) -> str:
        """Convolve; with ``act``, rectify."""
        weight, bias = self.net.layer(name).folded()
        inputs = [
            x,
            self._weight(f"{name}.weight", weight.numpy()),
            self._weight(f"{name}.bias", bias.numpy()),
        ]
        y = self._node(
            "Conv", inputs, kernel_shape=[k, k], strides=[stride, stride], pads=[k // 2] * 4
        )
        return self._node("Relu", [y]) if act else y

    def cat(self, *xs: str) -> str:
        """Concatenate channels."""
        return self._node("Concat", list(xs), axis=1)

    def up(self, x: str) -> str:
        """Repeat every pixel twice in both directions."""
        if not any(weight.name == "twice" for weight in self.weights):
            self._weight("twice", np.array([1, 1, 2, 2], np.float32))
        mode = {"mode": "nearest", "nearest_mode": "floor"}
        return self._node(
            "Resize", [x, "", "twice"], coordinate_transformation_mode="asymmetric", **mode
        )

    def pool(self, x: str) -> str:
        """Take the maximum over 5x5 pixels."""
        return self._node("MaxPool", [x], kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4)

    def add(self, x: str, y: str) -> str:
        """Add."""
        return self._node("Add", [x, y])

    def positive(self, x: str) -> str:
        """Softplus."""
        return self._node("Softplus", [x])

    def save(self, path: Path) -> None:
        """Check the model and write it."""
        outputs = []
        names = [f"{kind}_{stride}" for stride in STRIDES for kind in ("box", "cls")]
        for name, inner in zip(names, detector(self, "images")):
            node = next(node for node in self.nodes if node.output[0] == inner)
            node.output[0] = name
            stride = int(name[4:])
            shape = [
                1,
                4 if name.startswith("box") else len(LABELS),
                SIDE // stride,
                SIDE // stride,
            ]
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
        graph = helper.make_graph(self.nodes, "street", [image], outputs, self.weights)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="npud", ir_version=8
        )
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString(deterministic=True))


# --- scenes --------------------------------------------------------------------------------------


def _scene(seed: int, number: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Render one training picture, letterboxed, and its objects as rows of class and box."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng([seed, number])
    size = SIZES[int(rng.integers(len(SIZES)))]
    if rng.random() < 0.2:
        size = (int(rng.integers(400, 1300)), int(rng.integers(320, 800)))
    street_seed = int(rng.integers(TRAIN_SEEDS.start, TRAIN_SEEDS.stop))
    frame, truth = Street(street_seed, size).frame(int(rng.integers(0, 100_000)))
    how = cv2.INTER_LINEAR if rng.random() < 0.6 else cv2.INTER_AREA
    image, gain, left, top = letterbox(frame, how)
    rows = np.full((MOST_OBJECTS, 5), -1, np.float32)
    count = min(MOST_OBJECTS, len(truth.boxes))
    rows[:count, 0] = truth.class_ids[:count]
    rows[:count, 1:] = truth.boxes[:count] * gain + np.array([left, top, left, top])
    return image, rows


def load_scenes(seed: int, count: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Render the training pictures into a cache on disk, or open the one from an earlier run."""
    drawing = b"".join(path.read_bytes() for path in sorted(SCENES.glob("*.py")))
    stem = Path(tempfile.gettempdir()) / f"npud-scenes-{seed}-{count}-{zlib.crc32(drawing):08x}"
    images_path, rows_path = stem.with_suffix(".images.npy"), stem.with_suffix(".rows.npy")
    if not rows_path.exists():
        images = np.lib.format.open_memmap(images_path, "w+", np.uint8, (count, SIDE, SIDE, 3))
        rows = np.empty((count, MOST_OBJECTS, 5), np.float32)
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            scenes = pool.imap(functools.partial(_scene, seed), range(count), chunksize=32)
            for number, (image, row) in enumerate(scenes):
                images[number], rows[number] = image, row
        images.flush()
        np.save(rows_path, rows)
    return np.load(images_path, mmap_mode="r"), np.load(rows_path)


def augment(images: Tensor, rows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror half of the pictures and change brightness, contrast, colour and noise."""
    count = len(images)

    def draw(low: float, high: float, channels: int = 1) -> Tensor:
        return torch.rand(count, channels, 1, 1, generator=rng) * (high - low) + low

    x = images.permute(0, 3, 1, 2).flip(1).float() / 255
    flip = torch.rand(count, generator=rng) < 0.5
    x[flip] = x[flip].flip(3)
    valid = rows[..., :1] >= 0
    mirrored = torch.stack(
        [rows[..., 0], SIDE - rows[..., 3], rows[..., 2], SIDE - rows[..., 1], rows[..., 4]], -1
    )
    rows = torch.where(flip[:, None, None] & valid, mirrored, rows)
    x = x * draw(0.75, 1.25) * draw(0.92, 1.08, 3)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * draw(0.75, 1.25) + mean + draw(-0.06, 0.06)
    x = x + torch.randn(x.shape, generator=rng) * draw(-0.02, 0.025).clamp_min(0)
    return x.clamp_(0, 1), rows


# --- assignment, loss and training ---------------------------------------------------------------


def ciou(a: Tensor, b: Tensor, penalty: bool) -> Tensor:
    """Return the IoU of boxes, with the complete-IoU penalty if wanted."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    inter = (high - low).clamp_min(0).prod(-1)
    size_a, size_b = a[..., 2:] - a[..., :2], b[..., 2:] - b[..., :2]
    iou = inter / (size_a.prod(-1) + size_b.prod(-1) - inter + 1e-6)
    if not penalty:
        return iou
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    apart = ((a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) ** 2).sum(-1) / 4
    angle_a = torch.atan(size_a[..., 0] / size_a[..., 1].clamp_min(1e-6))
    angle_b = torch.atan(size_b[..., 0] / size_b[..., 1].clamp_min(1e-6))
    shape = 4 / math.pi**2 * (angle_a - angle_b) ** 2
    weight = (shape / (1 - iou + shape + 1e-6)).detach()
    return iou - apart / ((hull**2).sum(-1) + 1e-6) - weight * shape


@functools.cache
def cells() -> tuple[Tensor, Tensor]:
    """Return the centre (x, y in pixels) and the stride of every cell."""
    centres, strides = [], []
    for stride in STRIDES:
        steps = (torch.arange(SIDE // stride) + 0.5) * stride
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        centres.append(torch.stack([x, y], -1).reshape(-1, 2))
        strides.append(torch.full((x.numel(), 1), float(stride)))
    return torch.cat(centres), torch.cat(strides)


def assign(
    scores: Tensor, boxes: Tensor, rows: Tensor, most: int = 10
) -> tuple[Tensor, Tensor, Tensor]:
    """Give each object the cells that fit it best (task-aligned); all without gradients.

    Returns, per cell, whether it has an object, that object's row and the score wanted from it.
    """
    centres, _ = cells()
    truth, valid = rows[..., 1:], rows[..., 0] >= 0
    middle, half = (truth[..., :2] + truth[..., 2:]) / 2, (truth[..., 2:] - truth[..., :2]) / 2
    reach = half.clamp_min(STRIDES[0] / 2)[:, :, None]  # however small, some cell is in reach
    inside = ((centres - middle[:, :, None]).abs() < reach).all(-1) & valid[..., None]
    iou = ciou(truth[:, :, None], boxes[:, None], False).clamp_min(0) * inside
    classes = rows[..., 0].long().clamp_min(0)
    chance = scores.transpose(1, 2).gather(1, classes[..., None].expand(-1, -1, scores.shape[1]))
    metric = chance.sqrt() * iou**4 * inside + inside * 1e-9
    best = metric.topk(most, -1)
    chosen = torch.zeros_like(metric).scatter_(-1, best.indices, 1.0) * inside
    rivals = torch.where(chosen > 0, iou + 1e-6, torch.zeros_like(iou))
    owner = rivals.argmax(1)
    chosen = chosen * (functional.one_hot(owner, rows.shape[1]).transpose(1, 2))
    metric = metric * chosen
    wanted = metric / metric.amax(-1, keepdim=True).clamp_min(1e-9)
    wanted = wanted * (iou * chosen).amax(-1, keepdim=True)
    return chosen.amax(1) > 0, owner, wanted.amax(1)


def loss_of(outputs: list[Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the losses of boxes and of classes."""
    centres, strides = cells()
    sides = torch.cat([o.flatten(2) for o in outputs[0::2]], 2).transpose(1, 2).float() * strides
    logits = torch.cat([o.flatten(2) for o in outputs[1::2]], 2).transpose(1, 2).float()
    boxes = torch.cat([centres - sides[..., :2], centres + sides[..., 2:]], -1)
    with torch.no_grad():
        used = max(1, int((rows[..., 0] >= 0).sum(1).max()))
        rows = rows[:, :used]
        positive, owner, wanted = assign(logits.sigmoid(), boxes, rows)
        matched = rows.gather(1, owner[..., None].expand(-1, -1, 5))
        target = torch.zeros_like(logits)
        target.scatter_(2, matched[..., :1].long().clamp_min(0), (wanted * positive)[..., None])
        total = target.sum().clamp_min(1.0)
    focus = (logits.detach().sigmoid() - target).abs() ** 1.0 * 2.0
    focus = torch.where(positive[..., None], torch.ones_like(focus), focus.clamp(0.0, 1.0))
    cls = (
        functional.binary_cross_entropy_with_logits(logits, target, reduction="none") * focus
    ).sum()
    fit = ciou(boxes[positive], matched[positive][:, 1:], True)
    return ((1 - fit) * wanted[positive]).sum() / total, cls / total


def train(args: argparse.Namespace) -> TorchNet:
    """Train and return the averaged network."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(2)
    images, rows = load_scenes(args.seed, args.scenes)
    print(f"{len(images)} scenes ready", flush=True)
    rng = torch.Generator().manual_seed(args.seed)
    net = TorchNet()
    average = copy.deepcopy(net).eval()
    plain = [p for p in net.parameters() if p.ndim < 2]
    decayed = [p for p in net.parameters() if p.ndim >= 2]
    groups = [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.99))
    steps = args.epochs * (len(images) // args.batch)
    step, begun = 0, time.monotonic()
    for epoch in range(args.epochs):
        order = torch.randperm(len(images), generator=rng).numpy()
        sums = np.zeros(2)
        for first in range(0, len(images) - args.batch + 1, args.batch):
            chosen = np.sort(order[first : first + args.batch])
            x, truth = augment(
                torch.from_numpy(images[chosen]), torch.from_numpy(rows[chosen]), rng
            )
            warm = min(1.0, (step + 1) / 200)
            rate = args.lr * warm * (0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
                outputs = net(x.contiguous(memory_format=torch.channels_last))
            box, cls = loss_of(outputs, truth)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(5.0 * box + cls)
            nn.utils.clip_grad_norm_(net.parameters(), 10.0)
            optimizer.step()
            step += 1
            keep = min(0.998, step / (step + 50))
            with torch.no_grad():
                for ours, theirs in zip(average.state_dict().values(), net.state_dict().values()):
                    if ours.is_floating_point():
                        ours.lerp_(theirs, 1 - keep)
            sums += (box.item(), cls.item())
            if step % 100 == 0:
                print(f"step {step}/{steps} {time.monotonic() - begun:.0f} s", flush=True)
        sums /= len(images) // args.batch
        spent = time.monotonic() - begun
        print(f"epoch {epoch + 1}: box {sums[0]:.3f} cls {sums[1]:.3f}, {spent:.0f} s", flush=True)
        OnnxNet(average).save(args.output / "street.onnx")
    return average


MANIFEST = """\
# The detector that comes with npud, for trying everything out without a board or a camera.
# Trained from scratch on generated street scenes alone (runtime/scenes/): no photographs, no
# other data set, no other model's weights. License: Apache-2.0, like the rest of npud.
# Made by: python tools/train_bundled.py {flags}
# Measure it with: python tools/eval_bundled.py

labels = [{labels}]
head = "ltrb"
activation = "logits"

[input]
color = "rgb"
letterbox = "center"
pad_value = 114
mean = [0.0, 0.0, 0.0]
std = [255.0, 255.0, 255.0]
"""


def main() -> None:
    """Train and write the model and its manifest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenes", type=int, default=9_000)
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--output", type=Path, default=BUNDLED, help="directory to write to")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    OnnxNet(train(args)).save(args.output / "street.onnx")
    names = ("seed", "scenes", "epochs", "batch")
    flags = " ".join(f"--{name} {getattr(args, name)}" for name in names)
    labels = ", ".join(f'"{label}"' for label in LABELS)
    (args.output / "street.toml").write_text(MANIFEST.format(flags=flags, labels=labels))


if __name__ == "__main__":
    main()
