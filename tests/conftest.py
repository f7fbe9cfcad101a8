"""Settings of every test: two CPU devices, kept compiled programs, no silent rank promotion."""

import importlib.util
import os
import shutil
import time
from pathlib import Path

# Before the first import of jax.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The same programs are compiled by many tests, by the scripts that they start, and again at the next run.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import checked_annotations  # noqa: F401, before the first import of hgad_jax
import jax
import pytest
import stub_backbone
from absl import logging
from jax.extend import backend

from hgad_jax.backbones.catalogue import CATALOGUE
from hgad_jax.runs import host

KEPT = Path(__file__).parents[1] / ".pytest_cache" / "compiled" / host.machine()
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(KEPT))
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
host.keep_compiled()

jax.config.update("jax_numpy_rank_promotion", "raise")

# Tests of what is not on every machine; what is left out is said at the head of the run.
_OPTIONAL = {
    "report/test_report_browser.py": ("no chromium on PATH", shutil.which("chromium")),
    "serving/test_page_browser.py": ("no chromium on PATH", shutil.which("chromium")),
    "parity/test_anomalib.py": ("the extra 'parity' is not installed", importlib.util.find_spec("anomalib")),
}
collect_ignore = [path for path, (_, found) in _OPTIONAL.items() if not found]


@pytest.fixture(scope="module", autouse=True)
def _devices(request):
    """Two, or as many as the module's mark says: then each device has a runtime and programs of its own."""
    mark = request.node.get_closest_marker("devices")
    wanted = mark.args[0] if mark else 2
    if len(jax.devices()) != wanted:
        jax.clear_caches()
        backend.clear_backends()
        jax.config.update("jax_num_cpu_devices", wanted)
    assert len(jax.devices()) == wanted


@pytest.fixture(scope="module", autouse=True)
def _stub_backbone(request):
    """Known by its name, except to the tests of what the catalogue holds."""
    with pytest.MonkeyPatch.context() as patched:
        if request.path.parent.name != "backbones":
            patched.setitem(CATALOGUE, stub_backbone.NAME, stub_backbone.ENTRY)
        yield


@pytest.fixture(autouse=True)
def _verbosity():
    """Command lines called in a test make the log quiet, for the tests after it too."""
    before = logging.get_verbosity()
    yield
    logging.set_verbosity(before)


def pytest_sessionstart(session):
    """Forgets compiled programs that no run has asked for in two weeks."""
    if not hasattr(session.config, "workerinput"):  # before the workers start
        oldest = time.time() - 14 * 24 * 3600
        for path in KEPT.glob("*"):
            if path.stat().st_atime < oldest:
                path.unlink()


def pytest_report_header():
    return [f"left out: tests/{path}: {_OPTIONAL[path][0]}" for path in collect_ignore]


def pytest_collection_modifyitems(items):
    """The longest files first, so that at the end no worker is left alone with one of them."""
    long = ("training", "evaluation", "detectors")
    items.sort(key=lambda item: (item.path.name != "test_soak.py", item.path.parent.name not in long))
