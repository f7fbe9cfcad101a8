"""The page of a server in a headless Chromium: what a person does with it, and that it stays on its server.

Collected only where `chromium` is on the PATH (see tests/conftest.py).
"""

import csv
import io
import time
from urllib.parse import urlsplit

import numpy as np
import pytest
from browser import tab
from by_brightness import ByBrightness
from served import TOKEN, encoded, here, until
from trees import save

from hgad_jax.serving.limits import Limits
from hgad_jax.serving.models import Models


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with tab(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """By name: a good one, defective ones (one hardly, one of a name to beware of), and what is none."""
    place = tmp_path_factory.mktemp("dropped")
    found = {}
    for name, brightest in (("good", 100), ("hardly", 196), ("defective", 255), ("=1+1<img src=x>", 255)):
        pixels = np.full((60, 90), 100, np.uint8)
        pixels[10:30, 10:30] = brightest
        found[name] = save(place / f"{name}.png", pixels)
    found["broken"] = place / "broken.png"
    found["broken"].write_bytes(b"this is no image")
    deep = np.full((50, 50), 100 * 257, np.uint16)
    found["tiff"] = place / "deep.tif"
    found["tiff"].write_bytes(encoded(deep, "TIFF"))
    return found


@pytest.fixture
def page(browser, request):
    """The page of a new server, without results of before; it asks nobody else and nothing fails in it."""
    with here(**getattr(request, "param", {})) as server:
        browser.window(1100, 800)
        browser.open(server.url)  # another port is another origin: nothing is kept from before
        browser.asked.clear()
        browser.wrong.clear()
        browser.open(f"{server.url}/?again")
        yield browser
        own = urlsplit(server.url).netloc
        for address in browser.asked:
            kind = urlsplit(address.removeprefix("blob:"))
            assert kind.netloc == own or kind.scheme == "data", address


def results(page, count):
    page.wait_for(f"document.querySelectorAll('#rows tr').length === {count}")
    page.wait_for("document.querySelector('#waiting').textContent === ''")
    return page.run(
        "[...document.querySelectorAll('#rows tr')].map(r => [...r.cells].map(c => c.textContent))"
    )


def slide(page, selector, value):
    """Moves a slider, as a hand does."""
    page.run(
        f"(s => {{ s.value = {value}; s.dispatchEvent(new Event('input', {{bubbles: true}})); }})"
        f"(document.querySelector({selector!r}))"
    )


def ready(page):
    page.wait_for("document.querySelector('#about').textContent.includes('part')")


def test_dropped_images_are_decided_and_shown(page, images):
    ready(page)
    page.drop(images["good"], images["defective"])
    found = {row[1]: row for row in results(page, 2)}
    assert found["good.png"][2:4] == ["good", "part"]
    assert found["defective.png"][2:4] == ["anomalous", "part"]
    page.run(
        "[...document.querySelectorAll('#rows tr')].find(r => r.textContent.includes('defective')).click()"
    )
    assert page.text("#verdict") == "Anomalous: defective.png"
    assert "threshold 200.0" in page.text("#figures")
    page.wait_for("document.querySelector('#photo').complete && document.querySelector('#heat').complete")
    assert page.run("document.querySelector('#photo').naturalWidth") == 90
    assert page.run("document.querySelector('#heat').naturalWidth") == 90
    assert page.run("document.querySelectorAll('#outline path').length") == 1
    boxes = "['photo', 'heat', 'outline'].map(i => document.getElementById(i).getBoundingClientRect())"
    assert page.run(f"{boxes}.every((b, i, all) => Math.abs(b.width - all[0].width) < 1 && b.height > 50)")
    assert page.wrong == []


def test_the_heat_map_fades_and_outlines_go(page, images):
    ready(page)
    page.choose("#files", images["defective"])
    results(page, 1)
    slide(page, "#opacity", 25)
    assert page.run("getComputedStyle(document.querySelector('#heat')).opacity") == "0.25"
    page.press("h")
    assert page.run("getComputedStyle(document.querySelector('#heat')).opacity") == "0"
    page.press("k")
    assert page.run("getComputedStyle(document.querySelector('#outline')).display") == "none"
    assert page.wrong == []


def test_the_slider_moves_threshold_decision_and_promise(page, images):
    ready(page)
    assert "part: at most 1 % of good parts" in page.text("#promised")
    page.drop(images["hardly"])
    assert results(page, 1)[0][2] == "good"
    slide(page, "#rate", 200)
    assert page.text("#rate-said") == "50 %"
    assert "at most 45.5 % of good parts" in page.text("#promised")
    assert "Threshold 196.0" in page.text("#promised")
    slide(page, "#rate", 199)
    page.drop(images["defective"])
    decisions = {row[1]: row[2] for row in results(page, 2)}
    assert decisions == {"hardly.png": "good", "defective.png": "anomalous"}, "196 is not above 196"
    slide(page, "#rate", 0)
    assert "at most 9.1 % of good parts" in page.text("#promised")
    slide(page, "#rate", 1)
    assert "fewer cannot be promised" not in page.text("#promised")
    assert page.run("document.querySelector('#rows tr').cells[5].textContent") == "200.0"
    page.run("document.querySelector('#reset').click()")
    assert page.text("#rate-said") == "as the model decides"


def test_a_score_above_the_moved_threshold_is_anomalous(page, images, tmp_path):
    ready(page)
    pixels = np.full((60, 90), 100, np.uint8)
    pixels[:30] = 198
    page.drop(save(tmp_path / "between.png", pixels))
    assert results(page, 1)[0][2] == "good"
    before = page.run("parseFloat(document.querySelector('#mark').style.left)")
    slide(page, "#rate", 200)
    assert page.text("#verdict") == "Anomalous: between.png"
    assert page.run("document.querySelector('#rows tr').cells[2].textContent") == "anomalous"
    assert before < 50 < page.run("parseFloat(document.querySelector('#mark').style.left)")


def test_what_cannot_be_read_is_said_and_the_rest_goes_on(page, images):
    ready(page)
    page.drop(images["broken"], images["good"])
    found = {row[1]: row for row in results(page, 2)}
    assert found["good.png"][2] == "good"
    assert "no image by its content" in found["broken.png"][2]
    assert "broken.png: 'broken.png' cannot be read as an image" in page.text("#error")
    assert all("422" in line for line in page.wrong)


def test_names_are_text_in_the_page_and_in_the_table(page, images):
    ready(page)
    page.drop(images["=1+1<img src=x>"], images["good"])
    results(page, 2)
    assert page.run("document.querySelectorAll('#rows img').length") == 0
    made = page.run(
        "import('/page/history.js').then(h => h.toCsv(h.load(), r => ({...r, className: r.class_name}), 0.1))"
    )
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(made))}
    assert rows.keys() == {"'=1+1<img src=x>.png", "good.png"}
    assert rows["good.png"]["decision"] == "good"
    assert float(rows["good.png"]["score"]) == 100
    assert rows["good.png"]["accepted_rate"] == "0.1"


def test_results_stay_over_a_visit_and_can_be_forgotten(page, images):
    ready(page)
    page.drop(images["good"], images["defective"])
    before = results(page, 2)
    page.call("Page.reload")
    page.wait_for("document.querySelectorAll('#rows tr').length === 2")
    ready(page)
    assert results(page, 2) == before
    page.run("document.querySelector('#rows tr').click()")
    assert page.run("document.querySelector('#stage').hidden"), "its picture is gone"
    page.run("document.querySelector('#clear').click()")
    assert results(page, 0) == []
    assert page.run("localStorage.getItem('results')") == "[]"


def test_a_hundred_results_are_kept(page, images):
    ready(page)
    page.drop(*[images["good"]] * 104)
    assert len(results(page, 100)) == 100
    assert page.text("#counted") == "(100)"


def test_keys_go_through_results_and_a_deep_image_lies_over_grey(page, images):
    ready(page)
    page.drop(images["good"])
    results(page, 1)
    page.drop(images["tiff"])
    results(page, 2)
    assert page.text("#verdict") == "Good: deep.tif"
    page.wait_for("!document.querySelector('#unshown').hidden")
    page.press("ArrowRight")
    assert page.text("#verdict") == "Good: good.png"
    page.press("ArrowLeft")
    assert page.text("#verdict") == "Good: deep.tif"


def test_a_picture_from_the_camera(page):
    ready(page)
    page.press("c")
    page.wait_for("document.querySelector('#video').videoWidth > 0")
    page.run("document.querySelector('#shoot').click()")
    (row,) = results(page, 1)
    assert row[1].startswith("camera-")
    page.run("document.querySelector('#close-camera').click()")
    page.wait_for("document.querySelector('#video').srcObject === null")
    assert page.wrong == []


def test_a_pasted_image(page):
    ready(page)
    page.run(
        """(async () => {
          const canvas = document.createElement('canvas');
          const blob = await new Promise(done => canvas.toBlob(done));
          const data = new DataTransfer();
          data.items.add(new File([blob], 'pasted.png', {type: 'image/png'}));
          document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true}));
        })()"""
    )
    assert results(page, 1)[0][1] == "pasted.png"


@pytest.mark.parametrize("page", [{"token": TOKEN}], indirect=True)
def test_the_token_is_asked_for(page, images):
    for wrong in ("not-the-token-at-all", TOKEN):
        page.wait_for("document.querySelector('#ask-token').open")
        page.run(f"document.querySelector('#token').value = '{wrong}'")
        page.run("document.querySelector('#ask-token button').click()")
    ready(page)
    page.drop(images["good"])
    assert results(page, 1)[0][2] == "good"
    assert page.run("JSON.stringify(localStorage)").find(TOKEN) < 0
    assert all(TOKEN not in address for address in page.asked)


class Given(ByBrightness):
    def __init__(self):
        super().__init__(("part", "other part"))
        self.scorer.mode = "given"


@pytest.mark.parametrize(
    "page", [{"models": Models({"default": "run"}, open_it=lambda path: Given())}], indirect=True
)
def test_a_class_that_has_to_be_named_is_chosen(page, images):
    ready(page)
    assert not page.run("document.querySelector('#class-choice').hidden")
    page.run("document.querySelector('#class').value = 'other part'")
    page.drop(images["good"])
    assert results(page, 1)[0][3] == "other part"
    assert page.wrong == []


TWO = {"a": "run", "b": "run"}


@pytest.mark.parametrize(
    "page",
    [{"models": Models(TWO, open_it=lambda path: ByBrightness(("part",)))}],
    indirect=True,
)
def test_a_model_is_chosen(page, images):
    ready(page)
    page.run(
        "(s => { s.value = 'b'; s.dispatchEvent(new Event('change')); })(document.querySelector('#model'))"
    )
    page.drop(images["good"])
    results(page, 1)
    assert page.run("JSON.parse(localStorage.getItem('results'))[0].model") == "b"


class Slow(ByBrightness):
    def decide(self, *arguments, **settings):
        time.sleep(0.3)
        return super().decide(*arguments, **settings)


BUSY = {
    "models": Models({"default": "run"}, open_it=lambda path: Slow()),
    "limits": Limits(queue=1, max_images=1),
}


@pytest.mark.parametrize("page", [BUSY], indirect=True)
def test_a_busy_server_is_asked_again(page, images):
    ready(page)
    page.drop(*[images["good"]] * 6)
    assert [row[2] for row in results(page, 6)] == ["good"] * 6


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_screen(page, images, width, dark):
    page.window(width, 844, dark=dark)
    ready(page)
    page.drop(images["defective"], images["=1+1<img src=x>"], images["broken"])
    results(page, 3)
    assert page.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    small = (
        "[...document.querySelectorAll('button')].filter(b => b.offsetHeight && b.offsetHeight < 44).length"
    )
    assert page.run(small) == 0, "buttons for fingers"
    ground = page.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) == dark


def test_the_page_of_routes_has_them_all(page):
    page.run("location.href = '/docs'")
    page.wait_for("document.querySelectorAll('#routes h2').length >= 7")
    assert "POST /v1/predict" in page.text("#routes")
    assert page.wrong == []


def test_the_browser_keeps_the_page_on_its_server(page):
    """By the policy that comes with it, whatever a script tries."""
    ready(page)
    tried = "fetch('https://example.invalid/x').then(() => 'went', () => 'blocked')"
    assert page.run(tried) == "blocked"
    until(lambda: page.run("1") and any("Content Security Policy" in line for line in page.wrong))
    assert page.run("typeof window.evil") == "undefined"
    page.run(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.evil = 1'}))"
    )
    assert page.run("typeof window.evil") == "undefined", "no script but the page's own files"
    page.asked.clear()
