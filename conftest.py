"""Tests keep generated data in a folder of their own, and download nothing."""

import gc
import os
from collections import Counter
from importlib.util import find_spec

import pytest
import torch

# without a GPU kernels run in Triton's interpreter, which it reads when it is imported
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
# modules that import a package which not every environment has
NEEDS = {
    "triton": ["geqlib/kernels/*_triton.py", "tests/kernels/compile_kernels.py"],
    "torch_sim": ["geqlib/calculators/torch_sim.py"],
}
collect_ignore_glob = [
    path for name, paths in NEEDS.items() if not find_spec(name) for path in paths
]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEQLIB_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("GEQLIB_OFFLINE", "1")
        yield


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What is imported stays to the end: garbage is searched among what comes after it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 10, 10)  # else what is left is searched far more often
        gc.enable()


def pytest_collection_modifyitems(items):
    for item in items:  # examples that trace and compile, to which no marker can be added
        if item.nodeid.startswith("geqlib/files/export.py"):
            item.add_marker(pytest.mark.slow)
    # long files first, so that no process is alone with one at the end
    tests = Counter(item.path for item in items)
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path] / tests[item.path])
