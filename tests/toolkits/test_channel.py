"""The pipe to a toolkit's process: tensors survive it, and every way to fail is one clear error."""

from __future__ import annotations

import io
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from npud.errors import BackendUnavailable, InferenceError, ModelError
from runtime.toolkits.environment import Environment, Toolkit
from runtime.toolkits.noise import last_line, reason
from runtime.toolkits.process import SCRIPTS, Script
from runtime.toolkits.scripts.channel import receive, send

TOOLKIT = Toolkit("fake", "1", ("3.10",), (), (), "json", 0.0, "rk1")
FAKE = """
import os, sys
sys.path.insert(0, {scripts!r})
from channel import serve

def double(request, tensors):
    print("vendor noise on stdout")
    return {{"said": request["word"]}}, [2 * tensor for tensor in tensors]

def fail(request, tensors):
    print("\\x1b[31mE build: the real reason\\x1b[0m", file=sys.stderr)
    raise ValueError("it did not work")

def die(request, tensors):
    print("ERROR out of beans", file=sys.stderr)
    sys.stderr.flush()
    os._exit(7)

serve({{"double": double, "fail": fail, "die": die}})
"""


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """This interpreter in the place of a toolkit's."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    return Environment(TOOLKIT, tmp_path)


@pytest.fixture
def script(environment: Environment, tmp_path: Path) -> Script:
    # a symlink to a venv's python finds no packages of the venv: name NumPy's folder
    packages = str(Path(np.__file__).parents[1])
    code = f"import sys\nsys.path.append({packages!r})\n" + FAKE.format(scripts=str(SCRIPTS))
    path = tmp_path / "fake.py"
    path.write_text(textwrap.dedent(code))
    return Script(environment, str(path), tmp_path / "log.txt")


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "float16", "float32"])
def test_tensors_survive(dtype: str) -> None:
    stream = io.BytesIO()
    arrays = [np.arange(24).reshape(2, 3, 4).astype(dtype), np.zeros((0, 3), dtype)]
    send(stream, {"do": "it", "ä": [1, None]}, [arrays[0].transpose(2, 0, 1), arrays[1]])
    stream.seek(0)
    message, tensors = receive(stream)
    assert message == {"do": "it", "ä": [1, None]}
    np.testing.assert_array_equal(tensors[0], arrays[0].transpose(2, 0, 1))
    assert tensors[0].dtype == dtype
    assert tensors[1].shape == (0, 3)


@pytest.mark.parametrize("cut", [0, 1, 30, 1000])
def test_a_message_that_is_cut_off_is_the_end(cut: int) -> None:
    stream = io.BytesIO()
    send(stream, {"a": 1}, [np.zeros(1000, np.uint8)])
    with pytest.raises(EOFError):
        receive(io.BytesIO(stream.getvalue()[:cut]))


def test_answers_come_in_order_and_noise_goes_to_the_log(script: Script, tmp_path: Path) -> None:
    for number in range(3):
        answer, tensors = script.ask(
            ModelError, {"do": "double", "word": number}, [np.full(5, number)]
        )
        assert answer == {"said": number}
        assert tensors[0].tolist() == [2 * number] * 5
    script.close()
    script.close()
    assert "vendor noise" in (tmp_path / "log.txt").read_text()


def test_a_failure_tells_the_last_line_that_matters(script: Script) -> None:
    with pytest.raises(
        ModelError, match=r"^it did not work; it said: E build: the real reason; log: "
    ):
        script.ask(ModelError, {"do": "fail"})
    assert script.ask(ModelError, {"do": "double", "word": ""})[0] == {"said": ""}  # it goes on
    script.close()


def test_a_process_that_dies_is_an_error(script: Script) -> None:
    with pytest.raises(InferenceError, match=r"ended with code 7; it said: ERROR out of beans"):
        script.ask(InferenceError, {"do": "die"})
    with pytest.raises(InferenceError, match="closed"):
        script.ask(InferenceError, {"do": "double", "word": ""})


def test_a_python_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="cannot be started"):
        Script(Environment(TOOLKIT, tmp_path / "none"), "rknn_model.py", tmp_path / "log.txt")


def test_of_a_traceback_the_last_line_counts() -> None:
    text = 'Traceback (most recent call last):\n  File "a.py", line 1\nValueError: the shape is wrong!\n'
    assert reason(text) == "ValueError: the shape is wrong!"
    assert reason("plain\ntext") == "plain text"
    lines = ["\x1b[91mERROR\x1b[0m a", "I fine", "E rknn-toolkit2 version: 2.5.0", ""]
    assert last_line(lines) == "ERROR a"
    assert last_line(["one", "two"]) == "two"
    assert last_line([]) == ""
