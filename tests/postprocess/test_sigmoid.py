"""The sigmoid's stated error bounds (Options' docstring), over a dense sweep and the edges."""

import numpy as np
import pytest

from postprocess import _native
from postprocess.reference import sigmoid


def native_sigmoid(x, table_size):
    x = np.ascontiguousarray(x, np.float32)
    out = np.empty_like(x)
    _native.sigmoid(x, out, table_size)
    return out


SWEEP = np.concatenate(
    [
        np.linspace(-12, 12, 400_001),
        np.nextafter(np.float32([-10, 10, 0]), np.float32(-np.inf)),
        np.nextafter(np.float32([-10, 10, 0]), np.float32(np.inf)),
        [-164.0, -1e30, 1e30, -np.inf, np.inf, -0.0, 1e-45, -10.0, 10.0],
    ]
).astype(np.float32)


@pytest.mark.parametrize("steps", [16, 100, 1024, 4096, 65536])
def test_table_is_within_its_bound(steps):
    error = np.abs(native_sigmoid(SWEEP, steps) - sigmoid(SWEEP))
    inside = np.abs(SWEEP) < 10
    step = 20 / steps
    assert error[inside].max() <= step**2 * 0.0962 / 8 + 1.5e-7
    assert error[~inside].max() <= 4.54e-5 + 1.5e-7


def test_exact_is_right_to_rounding():
    assert np.abs(native_sigmoid(SWEEP, 0) - sigmoid(SWEEP)).max() <= 1.2e-7


@pytest.mark.parametrize("steps", [0, 16, 1000, 1024])
def test_monotonic_bounded_and_nan_stays_nan(steps):
    values = native_sigmoid(np.sort(SWEEP), steps)
    slack = 1.2e-7 if steps == 0 else 0.0
    assert (np.diff(values) >= -slack).all()
    assert values.min() >= 0
    assert values.max() <= 1
    assert np.isnan(native_sigmoid(np.float32([np.nan]), steps))[0]
