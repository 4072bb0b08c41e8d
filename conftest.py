"""Tests keep generated data in a folder of their own, and download nothing."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEQLIB_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("GEQLIB_OFFLINE", "1")
        yield


def pytest_collection_modifyitems(items):
    for item in items:  # examples that trace and compile, to which no marker can be added
        if item.nodeid.startswith("geqlib/files/export.py"):
            item.add_marker(pytest.mark.slow)
