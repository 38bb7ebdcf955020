"""No memory is allocated per frame: malloc is counted by a library that is loaded before libc."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COUNTER = r"""
#include <stddef.h>
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
long allocations;
void *malloc(size_t n) { allocations++; return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { allocations++; return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { allocations++; return __libc_realloc(p, n); }
void *memalign(size_t a, size_t n) { allocations++; return __libc_memalign(a, n); }
void *aligned_alloc(size_t a, size_t n) { allocations++; return __libc_memalign(a, n); }
int posix_memalign(void **p, size_t a, size_t n)
{ allocations++; *p = __libc_memalign(a, n); return *p ? 0 : 12; }
"""

SCRIPT = r"""
import ctypes, json, sys
import numpy as np
sys.path[:0] = json.loads(sys.argv[1])
from zoo import Form, flat_model, grid_model
from postprocess.native import NativeEngine
from postprocess.options import Options

counter = ctypes.c_long.in_dll(ctypes.CDLL(None), "allocations")
libc = ctypes.CDLL(None)
counts = {}
results = np.empty((300, 4), np.float32), np.empty(300, np.float32), np.empty(300, np.int32)

def count(name, model, **options):
    engine = NativeEngine(model.plan, model.specs, Options(**options))
    found = [engine.decode(model.tensors, *results) for _ in range(20)][0]
    before = counter.value
    for _ in range(500):
        engine.decode(model.tensors, *results)
    counts[name] = [counter.value - before, found]

rng = np.random.default_rng(3)
before = counter.value
libc.malloc(64)
counts["malloc itself"] = [counter.value - before - 1, 1]
for dtype in ("float32", "float16", "int8", "int32"):
    for layout in ("nchw", "nhwc", "nc1hwc2"):
        for head in ("dfl", "ltrb", "anchor", "yolox", "yolox_split"):
            form = Form(dtype, layout, per_channel=layout == "nhwc")
            forms = dict.fromkeys(("box", "cls", "obj", "all"), form)
            model = grid_model(rng, head, forms, (160, 160), style=3)
            count(f"{head} {layout} {dtype}", model, score_threshold=0.01)
form = Form("float32", "nhwc")
for head in ("flat", "flat_obj", "boxes_scores", "end2end"):
    model = flat_model(rng, head, dict.fromkeys(("box", "cls", "all"), form))
    count(head, model, score_threshold=0.01)
print(json.dumps(counts))
"""


def test_no_allocation_per_frame(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler or sys.platform != "linux" or "LD_PRELOAD" in os.environ:
        pytest.skip("needs a C compiler, glibc, and no other library before it")
    library, source = tmp_path / "counter.so", tmp_path / "counter.c"
    source.write_text(COUNTER)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-fno-builtin", "-o", str(library), str(source)],
        check=True,
    )
    here = Path(__file__).parent
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([str(here), str(here.parents[1])])],
        env=os.environ | {"LD_PRELOAD": str(library), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
    )
    if "__libc_" in result.stderr:
        pytest.skip("the C library is not glibc")
    assert result.returncode == 0, result.stderr
    counts = json.loads(result.stdout)
    assert len(counts) > 60
    assert {name: found for name, (_, found) in counts.items() if found == 0} == {}
    assert {name: allocated for name, (allocated, _) in counts.items() if allocated} == {}
