"""The catalogue: names and tags, warnings about ambiguous ones, and the table in the documentation."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from hgad_jax.backbones import table
from hgad_jax.backbones.__main__ import main
from hgad_jax.backbones.catalogue import CATALOGUE, IMAGENET, INCEPTION, choose, warn_if_ambiguous
from hgad_jax.backbones.weights import parameter_count
from hgad_jax.errors import UserError

RECORDINGS = Path(__file__).parents[1] / "fixtures" / "backbones"
DOCUMENT = Path(__file__).parents[2] / "docs" / "backbones.md"


def timms_count(name):
    with np.load(RECORDINGS / f"{name}.npz") as recorded:
        return int(recorded["parameters"])


def test_table_in_the_documentation_is_the_one_that_the_code_prints(capsys, monkeypatch):
    counts = iter([timms_count(name) for name in CATALOGUE])
    monkeypatch.setattr(table, "parameter_count", lambda spec: next(counts))
    assert main(["list"]) == 0
    assert capsys.readouterr().out.strip() in DOCUMENT.read_text()


@pytest.mark.slow  # every network is traced
def test_parameter_counts_are_timms():
    for name, entry in CATALOGUE.items():
        assert parameter_count(entry.build()) == timms_count(name), name


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("tf_efficientnet_b6", "tf_efficientnet_b6.aa_in1k for HGAD"),
        ("wide_resnet50_2", "wide_resnet50_2.tv_in1k for CFLOW-AD"),
        ("resnet18", "resnet18.tv_in1k for CFLOW-AD"),
        ("mobilenetv3_large_100", "mobilenetv3_large_100.tv_in1k for CFLOW-AD"),
    ],
)
def test_name_without_tag_that_means_other_weights_warns(name, advice):
    with pytest.warns(UserWarning, match="has no tag") as caught:
        warn_if_ambiguous(choose(name))
    assert advice in str(caught[0].message)


def test_names_that_are_clear_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("tf_efficientnet_b6.aa_in1k", "wide_resnet50_2.racm_in1k", "resnet34", "cait_m48_448"):
            warn_if_ambiguous(choose(name))


def test_default_taps_and_those_of_the_papers_exist():
    for entry in CATALOGUE.values():
        spec = entry.build()
        assert entry.taps
        assert all(spec.tap(tap) for tap in (*entry.taps, *entry.paper_taps))
        assert set(entry.papers.values()) <= {*entry.tags, ""}


def test_constants_follow_the_tag():
    assert choose("tf_efficientnet_b6.aa_in1k").constants == IMAGENET
    assert choose("tf_efficientnet_b6.ap_in1k").constants == INCEPTION
    assert choose("tf_efficientnet_lite2").constants == ((127.0,) * 3, (128.0,) * 3)


def test_what_the_papers_tap():
    taps = {name: CATALOGUE[name].build().taps for name in CATALOGUE}
    assert taps["tf_efficientnet_b6"]["blocks.4"] == (200, 16)
    assert [taps["wide_resnet50_2"][f"layer{i}"] for i in (2, 3, 4)] == [(512, 8), (1024, 16), (2048, 32)]
    assert [taps["resnet18"][f"layer{i}"] for i in (1, 2, 3)] == [(64, 4), (128, 8), (256, 16)]
    assert [taps["mobilenetv3_large_100"][tap] for tap in CATALOGUE["mobilenetv3_large_100"].paper_taps] == [
        (40, 8),
        (112, 16),
        (160, 32),
    ]
    assert taps["deit_base_distilled_patch16_384"]["blocks.7.norm"] == (768, 16)
    assert taps["cait_m48_448"]["blocks.40.norm"] == (768, 16)


def test_unknown_tag_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"'v9' of the backbone resnet18; known names: resnet18.a1_in1k"):
        choose("resnet18.v9")
