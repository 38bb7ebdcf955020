"""Builds the C extension; all metadata is in pyproject.toml."""

import os
from glob import glob

from setuptools import Extension, setup

SANITIZE = os.environ.get("NPUD_SANITIZE")  # e.g. address,undefined (see `make sanitize`)

flags = ["-std=c11", "-O3", "-Wall", "-Wextra", "-Werror=implicit-function-declaration"]
flags += ["-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math"]
flags += ["-ffp-contract=off"]  # the same bytes from every variant
if SANITIZE:
    flags += [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-g", "-O1"]

setup(
    ext_modules=[
        Extension(
            "postprocess._native",
            sources=sorted(glob("native/**/*.c", recursive=True)),
            depends=sorted(glob("native/**/*.h", recursive=True)),
            include_dirs=["native"],
            extra_compile_args=flags,
            extra_link_args=[f"-fsanitize={SANITIZE}"] if SANITIZE else [],
            libraries=["m"],
        )
    ]
)
