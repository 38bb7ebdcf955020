"""The sigmoids' stated error bounds (docs/postprocess.md): all values of a type, or a dense sweep."""

import numpy as np
import pytest

from postprocess import _native
from postprocess import sigmoid as definition
from postprocess.native import sigmoid_mode
from postprocess.options import Options
from postprocess.reference import sigmoid

ROUNDING = 3.1e-8  # half a float32 step below 1, and 1e-9


def native_sigmoid(x, **options):
    options = Options(**options)
    x = np.ascontiguousarray(x, np.float32)
    out = np.empty_like(x)
    _native.sigmoid(x, out, sigmoid_mode(options), options.table_size, options.table_range)
    return out


EDGES = np.float32([-10, 10, 0, -87, 87, -104, 104, 8, -8])
SWEEP = np.concatenate(
    [
        np.linspace(-12, 12, 400_001),
        np.linspace(-120, 120, 100_001),
        np.nextafter(EDGES, np.float32(-np.inf)),
        np.nextafter(EDGES, np.float32(np.inf)),
        EDGES,
        [-164.0, -1e30, 1e30, -np.inf, np.inf, -0.0, 1e-45, -1e-45],
    ]
).astype(np.float32)


@pytest.mark.parametrize("table_range", [4.0, 10.0, 12.5])
@pytest.mark.parametrize("steps", [16, 100, 1024, 4096, 65536])
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_table_is_within_its_bound(steps, table_range, interpolation):
    options = {
        "table_size": steps,
        "table_range": table_range,
        "table_interpolation": interpolation,
    }
    values = native_sigmoid(SWEEP, **options)
    error = np.abs(values - sigmoid(SWEEP))
    inside = np.abs(SWEEP) < table_range
    step = 2 * table_range / steps
    bound = step**2 * 0.0962 / 8 if interpolation == "linear" else step / 8
    assert error[inside].max() <= bound + 1.5e-7
    assert error[~inside].max() <= sigmoid(np.float64(-table_range)) + 1.5e-7
    expected = definition.table(SWEEP, steps, interpolation, table_range)
    np.testing.assert_array_equal(values, expected)


def test_exact_is_right_to_rounding():
    values = native_sigmoid(SWEEP, sigmoid="exact")
    assert np.abs(values - sigmoid(SWEEP)).max() <= 1.2e-7
    np.testing.assert_array_equal(values, definition.exact(SWEEP))


@pytest.mark.parametrize(
    "options",
    [{"sigmoid": "exact"}]
    + [
        {"table_size": size, "table_interpolation": interpolation}
        for size in (16, 1000, 1024)
        for interpolation in ("linear", "nearest")
    ],
)
def test_monotonic_bounded_and_nan_stays_nan(options):
    values = native_sigmoid(np.sort(SWEEP), **options)
    slack = 1.2e-7 if "sigmoid" in options else 0.0
    assert (np.diff(values) >= -slack).all()
    assert values.min() >= 0
    assert values.max() <= 1
    assert np.isnan(native_sigmoid(np.float32([np.nan]), **options))[0]


def all_values(code, scale, zero_point):
    """(stored values by their bits, real values) of a type of 8 or 16 bits."""
    bits = np.arange(256 if code in "bB" else 65536, dtype=np.uint8 if code in "bB" else np.uint16)
    stored = bits.view(np.dtype(code))
    if code == "e":
        return stored.astype(np.float32)
    return (stored.astype(np.int64) - zero_point).astype(np.float32) * np.float32(scale)


@pytest.mark.parametrize(
    ("code", "scale", "zero_point"),
    [("e", 1.0, 0)]
    + [("b", s, z) for s in (1 / 255, 24 / 255, 0.5, 3.0) for z in (-128, 0, 40, 127)]
    + [("B", s, z) for s in (1 / 255, 0.1, 0.9) for z in (0, 128, 255)]
    + [("h", s, z) for s in (1 / 32767, 8 / 32767, 1e-2) for z in (-32768, 0, 1000)],
)
def test_tables_of_all_values_are_right_to_rounding(code, scale, zero_point):
    """Every one of the 256 or 65,536 values of the type."""
    real = all_values(code, scale, zero_point)
    out = np.empty(len(real), np.float32)
    _native.sigmoid_table(code, scale, zero_point, out)
    nan = np.isnan(real)
    np.testing.assert_array_equal(np.isnan(out), nan)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(out, definition.rounded(real))
    assert np.abs(out[~nan] - sigmoid(real[~nan])).max() <= ROUNDING
    assert (np.diff(out[~nan][np.argsort(real[~nan], kind="stable")]) >= 0).all()


def test_exponential_of_the_tables():
    x = np.linspace(-104, 100, 100_001)
    np.testing.assert_allclose(definition.exp_double(x), np.exp(x), rtol=1e-11)


def test_wrong_arguments_are_refused():
    x = np.zeros(4, np.float32)
    for arguments in ((x, x[:3].copy(), 0, 16, 10.0), (x, x, 3, 16, 10.0), (x, x, 0, 0, 10.0)):
        with pytest.raises(ValueError, match=r"length|range"):
            _native.sigmoid(*arguments)
    for code, out in (("f", x), ("i", x), ("b", x), ("zz", x)):
        with pytest.raises(ValueError, match=r"expected|entry"):
            _native.sigmoid_table(code, 1.0, 0, out)
