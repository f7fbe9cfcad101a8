"""What a detector needs of the rest is said by the detector: nothing outside of it knows one by its name."""

import ast
import re

import pytest
from trees import ROOT

from hgad_jax import detectors
from hgad_jax.config import RECIPES, get_config
from hgad_jax.detectors import DETECTORS
from hgad_jax.distributions import BASES
from hgad_jax.flows import FLOWS

ROOMS = ("config", "training", "evaluation", "scoring", "metrics")
PLACES = [*(f"hgad_jax/{room}" for room in ROOMS), "scripts"]
FILES = [path for place in PLACES for path in sorted((ROOT / place).rglob("*.py"))]
FILES += sorted((ROOT / "hgad_jax").glob("*.py")) + sorted(ROOT.glob("*.py"))
# Terms of published scores; keys and presets of each detector, by its name.
TABLES = {
    "published.py",
    "dinov2.py",
    "bank.py",
    "shared.py",
    "experiments.py",
    *(f"{name}.py" for name in RECIPES),
}


def names():
    terms = set()
    for name in DETECTORS:
        terms |= set(detectors.create(get_config(f"{name}_folder").detector, 2).terms)
    return {*DETECTORS, *FLOWS, *BASES, *terms, "altub", "uflow"} - {"none"}


NAMES = names()
# Words of their own too: a variable may be called so, a key of a config or a dictionary may not.
WORDS = {"likelihood", "entropy", "standard", "dense", "convolution"}


def docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            yield node.body[0].value


def known(source):
    """The names of detectors and their parts that code knows: in strings and as identifiers."""
    tree = ast.parse(source)
    ignored = set(docstrings(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in ignored:
            words = {node.value} & NAMES | set(re.findall(r"\w+", node.value)) & (NAMES - WORDS)
        else:
            fields = (getattr(node, field, None) for field in ("id", "attr", "arg", "name"))
            words = {field for field in fields if isinstance(field, str)} & (NAMES - WORDS)
        for word in words:
            yield f"line {node.lineno}: {word}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_detector_is_known_by_its_name(path):
    assert path.name in TABLES or not list(known(path.read_text()))


def test_names_would_be_found():
    assert len(FILES) > 70
    assert {"hgad", "padim", "convolution", "trainable", "altub", "intra", "likelihood"} <= NAMES
    for source in (
        'if config.detector.name == "hgad": pass',
        'x = config.loss["likelihood"]',
        "config.altub.clip",
        "spade(1)",
        'print(f"run {name} of padim")',
        'only = ("intra", "log_sigmoid")',
    ):
        assert list(known(source)), source
    assert not list(known('"""As in hgad."""\nlikelihood = "of the likelihood"'))
