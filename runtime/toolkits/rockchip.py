"""rknn-toolkit2: what it needs, and a conversion with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from npud.errors import ConfigError, InferenceError, ModelError
from runtime.toolkits.environment import Environment, Toolkit
from runtime.toolkits.job import Job, Made, Setting, check_settings
from runtime.toolkits.process import Script

NAME = "rknn-toolkit2"
DEFAULT = "2.5.0"
VERSIONS = ("2.5.0", "2.3.2")
SCRIPT = "rknn_model.py"
OWN = {
    "mean_values": "the manifest's input.mean",
    "std_values": "the manifest's input.std",
    "target_platform": "--target",
    "quant_img_RGB2BGR": "the manifest's input.color",
}
# Its own list asks for torch < 2.5 with CUDA; it runs on a newer one for CPUs.  It imports
# pkg_resources, which setuptools 81 no longer has.
REQUIREMENTS = (
    "torch==2.13.0+cpu",
    "numpy==1.26.4",
    "onnx==1.18.0",
    "onnxruntime==1.20.1",
    "opencv-python-headless==4.10.0.84",
    "protobuf==4.25.4",
    "scipy==1.13.1",
    "fast-histogram==0.14",
    "psutil>=5.9",
    "ruamel.yaml>=0.17.21",
    "setuptools<81",
    "tqdm>=4.64.1",
)


def toolkit(version: str = DEFAULT) -> Toolkit:
    """The recipe of one version; raises ConfigError for one that npud does not know."""
    if version not in VERSIONS:
        raise ConfigError(f"{NAME}: expected version {' or '.join(VERSIONS)}, got {version}")
    return Toolkit(
        name=NAME,
        version=version,
        pythons=("3.11", "3.12"),
        requirements=REQUIREMENTS,
        bare=(f"{NAME}=={version}",),
        check="rknn.api",
        disk_gb=1.6,
        target="rk3588" if version == DEFAULT else f"rk3588 --toolkit-version {version}",
    )


class Model:
    """A model built in the toolkit's process, which can simulate it until it is closed."""

    def __init__(self, environment: Environment, job: Job, log: Path) -> None:
        self.parameters = parameters(job)
        self._script = Script(environment, SCRIPT, log)
        request = {
            "do": "build",
            "onnx": str(job.source.absolute()),
            "target": job.target,
            "mean": list(job.mean),
            "std": list(job.std),
            "settings": dict(job.settings),
            "output": str(job.output.absolute()) if job.output else None,
        }
        given = [] if job.pictures is None else [job.pictures]
        try:
            answer, _ = self._script.ask(ModelError, request, given)
        except ModelError as error:
            self.close()
            raise ModelError(f"model {job.source}: {NAME}: {_with_hint(str(error))}") from None
        except BaseException:
            self.close()
            raise
        self.version = str(answer["version"])

    def infer(self, picture: NDArray[Any]) -> Sequence[NDArray[Any]]:
        """Simulate (1, H, W, 3) uint8; float32 outputs in the file's order."""
        return self._script.ask(InferenceError, {"do": "infer"}, [picture])[1]

    def close(self) -> None:
        """End the process."""
        self._script.close()


def check(job: Job) -> None:
    """Raise ConfigError for settings that cannot be given."""
    check_settings(job.settings, OWN)


def convert(environment: Environment, job: Job, say: Callable[[str], None]) -> Made:
    """Write job.output; raises ModelError."""
    log = job.folder / "toolkit.log"
    count = "" if job.pictures is None else f", {len(job.pictures)} pictures"
    say(f"{NAME}: building for {job.target}, {job.quantization}{count} (log: {log})")
    model = Model(environment, job, log)
    model.close()
    return Made(model.version, model.parameters)


def parameters(job: Job) -> dict[str, Setting]:
    """What RKNN.config and RKNN.build are given, as it is recorded."""
    return {
        "mean_values": [list(job.mean)],
        "std_values": [list(job.std)],
        "do_quantization": job.pictures is not None,
        **job.settings,
    }


def _with_hint(text: str) -> str:
    rule = "seperate_conv_rs_split"  # its spelling
    if rule not in text:
        return text
    return f"{text}; remedy: --set 'disable_rules=[\"{rule}\"]', a known defect of 2.5.0"
