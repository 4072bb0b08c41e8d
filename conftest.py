"""Tests keep generated data in a folder of their own, and download nothing."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEQLIB_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("GEQLIB_OFFLINE", "1")
        yield
