"""The fuzzers' inputs, replayed on the usual build, and a short random run of each."""

import random
from pathlib import Path

import pytest

from tests.fuzz import fuzz_native, fuzz_recognise

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("entry", ["decoder", "nms", "sigmoid", "pixels"])
def test_corpus_of_the_extension(entry):
    files = sorted((CORPUS / entry).iterdir())
    assert files
    for file in files:
        getattr(fuzz_native, entry)(file.read_bytes())


@pytest.mark.parametrize("entry", ["decoder", "nms", "sigmoid", "pixels"])
def test_random_arguments_of_the_extension(entry):
    rng = random.Random(1)
    for _ in range(200):
        getattr(fuzz_native, entry)(rng.randbytes(rng.randrange(400)))


def test_random_outputs_are_recognised_or_refused():
    rng = random.Random(2)
    for _ in range(1000):
        fuzz_recognise.one_input(rng.randbytes(rng.randrange(100)))


def test_the_arguments_of_real_heads_are_overheard():
    assert {seed.arguments["head"] for seed in fuzz_native.SEEDS} >= {"dfl", "ltrb", "flat"}
