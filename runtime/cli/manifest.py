"""`npud manifest`: drafts the manifest of a model, and makes its golden sample."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from npud.errors import ConfigError, ModelError, NpudError
from runtime.cli.options import build, thresholds
from runtime.drafting import draft as drafting
from runtime.drafting.draft import Draft
from runtime.drafting.facts import Fact
from runtime.golden import reference
from runtime.golden.create import FEW, create
from runtime.golden.reference import Reference
from runtime.models import manifest as manifests
from runtime.sources.images import read_image


@click.command(
    epilog="Exit code: 0 if nothing is open that detections depend on; 1 if something is, which "
    "the draft then says; 2 for a wrong answer."
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write it; - for the terminal.  [the .toml beside MODEL]",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Answer a question: input.letterbox=center, labels=@coco.names (a file, one per line).",
)
@click.option(
    "--golden",
    type=click.Path(path_type=Path),
    metavar="IMAGE",
    help="Make a golden sample of this picture.",
)
@click.option(
    "--reference",
    "float_model",
    type=click.Path(path_type=Path),
    help="Float model that says what is in the picture.  [MODEL itself if it is a float .onnx]",
)
@click.option("--force", is_flag=True, help="Write over files; what the manifest states is kept.")
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="TOML configuration.")
@thresholds
def command(
    model: Path,
    output: Path | None,
    settings: tuple[str, ...],
    golden: Path | None,
    float_model: Path | None,
    force: bool,
    path: Path | None,
    **model_options: Any,
) -> None:
    """Draft the manifest of MODEL from what its file says.

    What the file does not say is asked for in a terminal, or given with --set.  What nobody answers
    is written as a comment: nothing is guessed.

    \b
    Examples:
      npud manifest yolo26n.rknn
      npud manifest yolo26n.rknn --set input.letterbox=center --set labels=@coco.names
      npud manifest yolo26n.rknn --golden street.jpg --reference yolo26n.onnx --force
    """
    if float_model and not golden:
        raise ConfigError("--reference: it makes a golden sample, which needs --golden IMAGE")
    target = output or manifests.beside(model)
    terminal = str(target) == "-"
    if golden and terminal:
        raise ConfigError("--golden: the sample is written beside the manifest, not to a terminal")
    before = target if not terminal and target.is_file() else None
    names = [target.with_name(f"{model.stem}.golden{suffix}") for suffix in (".png", ".npz")]
    for file in [target, *(names if golden else [])]:
        if not terminal and file.exists() and not force:
            raise ConfigError(f"{file} exists: --force writes over it, and keeps what it states")
    draft = drafting.start(model, before, _answers(settings))
    if sys.stdin.isatty():
        _ask(draft)
    sample = None
    if golden:
        if draft.missing:  # a sample made with guesses would approve of them for ever
            raise ConfigError(
                f"--golden: first answer {', '.join(draft.missing)} (--set KEY=VALUE)"
            )
        pixels, maker = read_image(golden), _float(draft, float_model)
        own = maker == model  # then it is read as drafted, whatever lies beside it
        if own:
            _write(target, draft.text(_notes(draft)))
        named = {"path": str(maker), "manifest": str(target) if own else None}
        options = build(path, {"model": {**named, **model_options}})
        sample = create(draft.manifest, pixels, options, draft.known.pixels)
        reference.save(sample, *names)
        _state(draft, sample, names)
    text = draft.text(_notes(draft))
    if terminal:
        click.echo(text, nl=False)
    else:
        _write(target, text)
        click.echo(_summary(draft, target, sample))
    if draft.missing:
        where = "the draft" if terminal else target
        raise ModelError(
            f"{where}: still open: {', '.join(draft.missing)}; answer with --set KEY=VALUE, or in "
            "the file, where each has its question"
        )


def _answers(settings: tuple[str, ...]) -> dict[str, Any]:
    answers = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: expected KEY=VALUE")
        answers[key.strip()] = drafting.value_of(value.strip())
    return answers


def _ask(draft: Draft) -> None:
    """Ask for what is open; Enter leaves it so."""
    for key, asked in draft.open.items():
        click.echo(f"\n{key}: {asked.text}")
        while text := click.prompt(f"  like {asked.example}, or Enter", "", show_default=False):
            value = drafting.value_of(text)
            try:
                drafting.check(key, value)
            except NpudError as error:
                click.echo(f"  {error}")
                continue
            draft.stated[key] = Fact(value, "as answered")
            break


def _float(draft: Draft, chosen: Path | None) -> Path:
    """The model that makes the reference."""
    known = draft.known
    if chosen:
        return chosen
    if known.info.format != "onnx" or known.quantized:
        raise ConfigError(
            f"--reference: {known.path} is converted: give the float model it is from"
        )
    return known.path


def _state(draft: Draft, sample: Reference, names: list[Path]) -> None:
    """Put the golden sample into the draft; limits that were stated stay."""
    made = f"what {sample.meta.model} finds in it: {sample.objects} objects"
    draft.stated["golden.image"] = Fact(names[0].name, "made from the picture given")
    draft.stated["golden.reference"] = Fact(names[1].name, made)


def _notes(draft: Draft) -> dict[str, str]:
    """Comments below the keys of a table."""
    notes, pixels = {}, draft.known.pixels
    if draft.known.scales_itself and pixels and pixels.std:
        mean, std = list(pixels.mean or (0.0,)), list(pixels.std)
        notes["input"] = f"mean and std are applied by the file itself: (pixel - {mean}) / {std}"
    if "golden.image" not in draft.stated:
        notes["golden"] = (
            "No golden sample: npud manifest --golden IMAGE --reference FLOAT_MODEL --force"
        )
    return notes


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise ModelError(f"{path}: cannot write it: {error.strerror or error}") from None


def _summary(draft: Draft, target: Path, sample: Reference | None) -> str:
    lines = [f"wrote {target}: {len(draft.stated)} keys, {len(draft.open)} open"]
    if sample:
        found = sample.objects
        lines.append(
            f"golden sample: {found} objects, highest class logit {sample.meta.peak:.1f}; now: "
            f"npud verify {draft.known.path}"
        )
        if found < FEW:
            lines.append(f"  {found} objects are few: a picture with {FEW} or more tells more")
    return "\n".join(lines)
