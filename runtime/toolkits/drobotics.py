"""rdkx5-yolo-mapper, D-Robotics' toolchain for the RDK X5: what it needs, a conversion with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from npud.errors import ConfigError, InferenceError, ModelError
from runtime.toolkits.environment import Environment, Toolkit
from runtime.toolkits.job import Job, Made, Setting, check_settings
from runtime.toolkits.process import Script

NAME = "rdkx5-yolo-mapper"
MAPPER = "hb_mapper"
LEVELS = ("O0", "O1", "O2", "O3")
BUILD = "hb_build.py"
SIMULATE = "hb_simulate.py"
PREFIX = "model"
PICTURES = "calibration"
SECTIONS = {
    "model_parameters": ("node_info", "remove_node_type", "remove_node_name", "debug_mode"),
    "calibration_parameters": (
        "calibration_type",
        "max_percentile",
        "per_channel",
        "optimization",
        "run_on_cpu",
        "run_on_bpu",
    ),
    "compiler_parameters": (
        "compile_mode",
        "core_num",
        "debug",
        "jobs",
        "max_time_per_fc",
        "optimize_level",
        "balance_factor",
    ),
}
OWN = {
    "onnx_model": "MODEL",
    "march": "--target",
    "norm_type": "the manifest's input.mean and input.std",
    "mean_value": "the manifest's input.mean",
    "scale_value": "the manifest's input.std",
    "input_type_rt": "nv12, which is what the backend feeds",
    "input_type_train": "the manifest's input.color",
    "cal_data_dir": "--calibration",
    "preprocess_on": "off, as the pictures are prepared by npud",
}
# What hb_mapper imports.  Its lists ask for a torch of any version; 1.12.1 is the newest that comes
# without a dozen CUDA packages where PyTorch's own index of CPU builds cannot be reached.
REQUIREMENTS = (
    "torch==1.12.1",
    "numpy==1.23.0",
    "onnx==1.15.0",
    "onnxruntime==1.16.2",
    "opencv-python-headless==4.6.0.66",
    "protobuf==3.20.3",
    "scipy==1.13.1",
    "scikit-image==0.19.0",
    "absl-py>=1.3.0",
    "click>=7.1.2",
    "easydict>=1.7",
    "graphviz>=0.8.4",
    "jinja2>=3.0.3",
    "matplotlib<3.11",
    "msgpack-numpy",
    "multiprocess",
    "paramiko>=2.12.0",
    "pathos>=0.2.4",
    "Pillow",
    "psutil",
    "pydot",
    "pyyaml>=5.3.1",
    "schema>=0.7.2",
    "setuptools<81",
    "six",
    "tabulate",
    "tqdm>=4.64.1",
)


def toolkit() -> Toolkit:
    """The recipe."""
    return Toolkit(
        name=NAME,
        version="1.0.0",
        pythons=("3.10",),
        requirements=REQUIREMENTS,
        bare=(f"{NAME}==1.0.0", "dgdk==1.0.0", "dg-nn-toolkit==1.0.0"),
        check="horizon_tc_ui.hb_mapper",
        disk_gb=2.8,
        target="rdkx5",
    )


class Model:
    """A quantized ONNX in the vendor's runtime, until it is closed."""

    def __init__(
        self, environment: Environment, quantized: Path, outputs: Sequence[str], log: Path
    ) -> None:
        self._script = Script(environment, SIMULATE, log)
        try:
            request = {"do": "load", "onnx": str(quantized.absolute()), "outputs": list(outputs)}
            self._script.ask(ModelError, request)
        except BaseException as error:
            self.close()
            if isinstance(error, ModelError):
                raise ModelError(f"model {quantized}: {error}") from None
            raise

    def infer(self, picture: NDArray[Any]) -> Sequence[NDArray[Any]]:
        """Run it on YUV444 (1, H, W, 3) uint8; outputs in the order that was asked for."""
        return self._script.ask(InferenceError, {"do": "infer"}, [picture])[1]

    def close(self) -> None:
        """End the process."""
        self._script.close()


def check(job: Job) -> None:
    """Raise ConfigError for settings that cannot be given."""
    mapper_config(job)


def convert(environment: Environment, job: Job, say: Callable[[str], None]) -> Made:
    """Write job.output and keep the quantized ONNX in job.folder; raises ModelError."""
    if job.pictures is None or job.output is None:
        raise ConfigError(f"{MAPPER}: expected calibration pictures and an output")
    config = mapper_config(job)
    level = config["compiler_parameters"]["optimize_level"]
    slow = ", which takes minutes" if level in ("O2", "O3") else ""
    log = job.folder / "toolkit.log"
    say(f"{MAPPER}: {len(job.pictures)} pictures, compiling at {level}{slow} (log: {log})")
    pictures = job.pictures.transpose(0, 3, 1, 2).astype("float32")
    script = Script(environment, BUILD, log)
    request = {
        "do": "build",
        "onnx": str(job.source.absolute()),
        "folder": str(job.folder.absolute()),
        "config": config,
    }
    try:
        answer, _ = script.ask(ModelError, request, [pictures])
    except ModelError as error:
        raise ModelError(f"model {job.source}: {MAPPER}: {error}") from None
    finally:
        script.close()
        shutil.rmtree(job.folder / PICTURES, ignore_errors=True)  # 5 MB each; the bytes are kept
    prefix = Path(answer["prefix"])
    shutil.move(f"{prefix}.bin", job.output)
    quantized = f"{PREFIX}_quantized_model.onnx"
    shutil.move(prefix.with_name(quantized), job.folder / quantized)
    return Made(str(answer["version"]), parameters(config), quantized)


def mapper_config(job: Job) -> dict[str, Any]:
    """hb_mapper's yaml file as nested tables; raises ConfigError."""
    config: dict[str, Any] = {
        "model_parameters": {
            "march": job.target,
            "working_dir": "out",
            "output_model_file_prefix": PREFIX,
        },
        "input_parameters": {
            "input_name": job.input_name,
            "input_type_rt": "nv12",
            "input_type_train": job.color,
            "input_layout_train": "NCHW",
            **normalisation(job.mean, job.std),
        },
        "calibration_parameters": {
            "cal_data_dir": PICTURES,
            "cal_data_type": "float32",
            "preprocess_on": False,
            "calibration_type": "default",
        },
        "compiler_parameters": {"compile_mode": "latency", "optimize_level": "O3"},
    }
    check_settings(job.settings, OWN)
    for key, value in job.settings.items():
        section, name = _place(key)
        check_settings({name: value}, OWN)
        config.setdefault(section, {})[name] = value
    level = config["compiler_parameters"]["optimize_level"]
    if level not in LEVELS:
        raise ConfigError(
            f"--optimize: expected {', '.join(LEVELS[:-1])} or {LEVELS[-1]}, got {level}"
        )
    return config


def normalisation(mean: tuple[float, ...], std: tuple[float, ...]) -> dict[str, Setting]:
    """What the BPU does with the pixels: (pixel - mean) · scale, per channel."""
    scaled, shifted = any(value != 1 for value in std), any(mean)
    kinds = {
        (False, False): "no_preprocess",
        (True, False): "data_mean",
        (False, True): "data_scale",
        (True, True): "data_mean_and_scale",
    }
    result: dict[str, Setting] = {"norm_type": kinds[shifted, scaled]}
    if shifted:
        result["mean_value"] = " ".join(f"{value:.9g}" for value in mean)
    if scaled:
        result["scale_value"] = " ".join(f"{1 / value:.12g}" for value in std)
    return result


def parameters(config: dict[str, Any]) -> dict[str, Setting]:
    """The yaml file as one flat table, as it is recorded."""
    left_out = ("onnx_model", "working_dir", "output_model_file_prefix", "cal_data_dir")
    flat = {key: value for section in config.values() for key, value in section.items()}
    return {key: value for key, value in flat.items() if key not in left_out}


def _place(key: str) -> tuple[str, str]:
    """(section, name) of a setting: "section.name", or a name whose section is known."""
    section, dot, name = key.rpartition(".")
    if dot:
        return section, name
    for section, names in SECTIONS.items():
        if key in names:
            return section, key
    if key in OWN:
        return "", key
    known = ", ".join(name for names in SECTIONS.values() for name in names)
    raise ConfigError(f"--set {key}: expected section.{key}, or one of {known}")
