"""Strict settings for every test: eight CPU devices, no silent rank promotion, no network of its own."""

import importlib.util
import os
import shutil

# Before the first import of jax: the tests of data parallelism need several devices.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest
from absl import logging

jax.config.update("jax_numpy_rank_promotion", "raise")

# Tests of what is not on every machine; what is left out is said at the head of the run.
_OPTIONAL = {
    "evaluation/test_report_browser.py": ("no chromium on PATH", shutil.which("chromium")),
    "parity/test_anomalib.py": ("the extra 'parity' is not installed", importlib.util.find_spec("anomalib")),
}
collect_ignore = [path for path, (_, found) in _OPTIONAL.items() if not found]


@pytest.fixture(autouse=True)
def _verbosity():
    """Command lines called in a test make the log quiet, for the tests after it too."""
    before = logging.get_verbosity()
    yield
    logging.set_verbosity(before)


def pytest_report_header():
    return [f"left out: tests/{path}: {_OPTIONAL[path][0]}" for path in collect_ignore]


def pytest_collection_modifyitems(items):
    """The longest files first, so that at the end no worker is left alone with one of them."""
    long = ("training", "evaluation", "detectors")
    items.sort(key=lambda item: (item.path.name != "test_soak.py", item.path.parent.name not in long))
