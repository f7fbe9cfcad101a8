"""The report: complete, harmless whatever folders are called, of bounded size."""

import os
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from made_up import HOSTILE, evaluated
from trees import add_class

from hgad_jax.report import gallery
from hgad_jax.report.class_section import likelihoods
from hgad_jax.report.page import render

VOID = ("meta", "img", "br", "stop")


class Page(HTMLParser):
    """Elements with attributes and text; refuses tags that do not close in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    place = tmp_path_factory.mktemp("report")
    published = {
        "source": "a <table> of theirs",
        "classes": {"grass": {"image_auroc": 0.123, "pixel_auroc": 0.456}},
        "mean": {"image_auroc": 0.789},
    }
    with evaluated(place, [HOSTILE, "grass", "gravel"], published=published) as found:
        yield found


@pytest.fixture(scope="module")
def page(three):
    return Page(render(three))


def test_everything_is_there(three, page):
    text = "".join(page.text)
    assert "Evaluation of data" in text
    for name, values in three.results["classes"].items():
        assert name in text
        for column in ("image_auroc", "image_ap", "pixel_auroc", "pixel_f1_max", "pixel_aupro"):
            assert f"{values[column]:.3f}" in text
            assert "{:.3f}–{:.3f}".format(*values[f"{column}_ci"]) in text
    assert len([a for a in page.all("details") if a.get("class") == "class"]) == 3
    charts = [a["aria-label"] for a in page.all("svg") if a.get("class") == "chart"]
    assert charts.count("Histogram of score") == 3
    assert charts.count("recall over false-positive rate") == 3
    assert charts.count("overlap over false-positive rate") == 3
    assert charts.count("Histogram of log-likelihood, nats per dimension") == 3
    assert len(page.all("img")) == 3 * 3 * 3 * 2, "classes, kinds, images; each beside its heat map"
    assert all(a["src"].startswith("data:image/jpeg;base64,") and a["alt"] for a in page.all("img"))
    assert text.count("threshold") > 3
    for word in ('"num_blocks"', '"jax"', "taken for", "False alarms", "Misses", "Typical hits"):
        assert word in text, word


def test_outlines_are_drawn_on_defective_images_only(page):
    paths = [a["d"] for a in page.all("path") if "class" not in a]
    assert len(paths) == 3 * 2 * 3 * 2, "misses and hits, on image and heat map"
    assert all(path.startswith("M") for path in paths)


def test_published_figures_stand_beside(page):
    text = "".join(page.text)
    assert "published 0.123" in text
    assert "published 0.456" in text
    assert "published 0.789" in text
    assert "a <table> of theirs" in text, "as text"


def test_names_of_folders_do_no_harm(page):
    """The name is text wherever it appears, and there is no element or handler that it brought along."""
    assert "".join(page.text).count(HOSTILE) >= 3
    for tag, attributes in page.elements:
        assert tag not in ("script", "iframe", "object", "embed", "link", "form", "base")
        assert not any(name.startswith("on") for name in attributes), attributes
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith("#")


def test_nothing_is_asked_of_a_network(three, page):
    policy = next(a["content"] for a in page.all("meta") if "http-equiv" in a)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    written = render(three)
    assert not re.search(r"https?://|url\((?!#)|@import|//cdn", written)


def test_names_that_are_no_utf_8_are_escaped(tmp_path):
    with evaluated(tmp_path, [os.fsdecode(b"gr\xffn")], test=1) as found:
        written = render(found)
    assert "gr\\xffn" in written.encode("utf-8").decode("utf-8")


def test_contents_lead_to_every_class(page):
    targets = {a["id"] for _, a in page.elements if "id" in a}
    links = {a["href"][1:] for a in page.all("a")}
    assert links == {"c0", "c1", "c2"} <= targets


def test_size_is_bounded(three):
    assert len(render(three).encode()) < 3 * 150_000 + 20_000


def test_without_thresholds_or_masks(tmp_path):
    with evaluated(tmp_path, ["grass"], thresholds=False, masks=False) as found:
        page = Page(render(found))
    text = "".join(page.text)
    assert "compare them with published tables only" in text
    assert "Worst false alarms" in text
    assert "Worst misses" in text
    charts = [a["aria-label"] for a in page.all("svg") if a.get("class") == "chart"]
    assert "overlap over false-positive rate" not in charts
    assert "of defective images" in text
    assert not [a for a in page.all("path") if a.get("class") == "limit"]


@pytest.mark.parametrize("missing", ["good", "square"])
def test_classes_with_one_kind_of_image_only(tmp_path, missing):
    folder = add_class(tmp_path / "data", "grass", good=1)
    shutil.rmtree(folder / "test" / missing)
    if missing == "square":
        shutil.rmtree(folder / "ground_truth")
    with evaluated(tmp_path, []) as found:
        text = "".join(Page(render(found)).text)
    assert ("False alarms" in text) == (missing == "square")
    assert ("Misses" in text) == (missing == "good")


def test_forty_classes_are_folded_away(tmp_path):
    names = [f"class {k:02}" for k in range(40)]
    with evaluated(tmp_path, names, test=1) as found:
        written = render(found)
    page = Page(written)
    sections = [a for a in page.all("details") if a.get("class") == "class"]
    assert len(sections) == 40
    assert not any("open" in a for a in sections)
    assert all(a["loading"] == "lazy" and a["decoding"] == "async" for a in page.all("img"))
    assert len(written.encode()) < 40 * 150_000


def test_very_many_classes_show_fewer_pictures(three, monkeypatch):
    monkeypatch.setattr("hgad_jax.report.class_section._TOTAL", 3 * 3 * 1 * 13e3)
    assert len(Page(render(three)).all("img")) == 3 * 3 * 1 * 2
    monkeypatch.setattr("hgad_jax.report.class_section._TOTAL", 0)
    assert not Page(render(three)).all("img")


def test_the_gallery_shows_the_extremes(three):
    rows = gallery.choose(three.test, three.decided, 1, 3)
    scores, own = three.scored.image, np.array(three.test.of_class(1))
    good, bad = own[~three.test.anomalous[own]], own[three.test.anomalous[own]]
    alarms, misses, hits = (row.indices for row in rows)
    assert scores[alarms].tolist() == sorted(scores[good], reverse=True)[:3]
    assert scores[misses].tolist() == sorted(scores[bad])[:3]
    assert set(hits) <= set(bad) - set(misses)
    alarm_count = int(np.sum(three.decided.judged.anomalous[good]))
    assert f"{alarm_count or 'none'} of {len(good)} good images" in rows[0].title


def test_likelihoods_are_counted_where_they_belong(three):
    good, bad, edges = likelihoods(three.test, three.scored, 2)
    indices = three.test.of_class(2)
    assert good.sum() == 64 * np.sum(~three.test.anomalous[indices])
    inside = sum(three.test.mask(i)[4::8, 4::8].sum() for i in indices)
    assert bad.sum() == inside > 0
    assert np.average(edges[:-1], weights=bad) < np.average(edges[:-1], weights=good), "squares are bright"
