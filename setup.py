"""Builds the C extensions; all metadata is in pyproject.toml."""

import os
from glob import glob

from setuptools import Extension, setup

SANITIZE = os.environ.get("NPUD_SANITIZE")  # e.g. address,undefined (see `make sanitize`)

flags = ["-std=c11", "-O3", "-Wall", "-Wextra", "-Werror=implicit-function-declaration"]
flags += ["-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math"]
flags += ["-ffp-contract=off"]  # the same bytes from every variant
if SANITIZE:
    flags += [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-g", "-O1"]


def extension(name: str, sources: list[str]) -> Extension:
    """One extension of the kernels' flags, from these files."""
    return Extension(
        name,
        sources=sorted(sources),
        depends=sorted(glob("native/**/*.h", recursive=True)),
        include_dirs=["native"],
        extra_compile_args=flags,
        extra_link_args=[f"-fsanitize={SANITIZE}"] if SANITIZE else [],
        libraries=["m"],
    )


pixels = glob("native/pixels/*.c")
setup(
    ext_modules=[
        extension(
            "postprocess._native", list({*glob("native/**/*.c", recursive=True)} - {*pixels})
        ),
        extension("runtime._pixels", pixels),
    ]
)
