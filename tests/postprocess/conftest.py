import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("NPUD_SHARED", Path(__file__).parents[3] / "shared"))


@pytest.fixture(params=["native", "reference"])
def kernels(request: pytest.FixtureRequest) -> str:
    """Every test with this fixture runs on both implementations."""
    return str(request.param)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real models and pictures."""
    if not (SHARED / "models").is_dir():
        pytest.skip("needs the real models (NPUD_SHARED)")
    return SHARED
