"""The report in a headless Chromium: no error on its console, nothing loaded from elsewhere, pictures shown.

Collected only where `chromium` is on the PATH (see tests/conftest.py).
"""

import json
import re
import subprocess

import pytest
from made_up import HOSTILE, evaluated

from hgad_jax.report.page import render

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--enable-logging=stderr",
    "--v=0",
    "--virtual-time-budget=10000",
]
# Runs in a copy of the page: unfolds everything, waits for the pictures, and leaves what it saw in the page.
PROBE = """<script>
window.addEventListener('error', e => document.title += ' error:' + e.message);
document.addEventListener('securitypolicyviolation', e => document.title += ' violation:' + e.blockedURI);
window.addEventListener('load', async () => {
  document.querySelectorAll('details').forEach(d => d.open = true);
  const images = [...document.images];
  images.forEach(i => i.loading = 'eager');
  const waited = new Promise(resolve => setTimeout(resolve, 5000));
  await Promise.race([waited, Promise.allSettled(images.map(i => i.decode()))]);
  const charts = [...document.querySelectorAll('svg.chart')];
  const seen = {
    images: images.length,
    empty: images.filter(i => !i.naturalWidth || !i.clientWidth).length,
    charts: charts.filter(s => s.getBoundingClientRect().height > 80).length,
    loads: performance.getEntriesByType('resource').map(r => r.name).filter(n => !n.startsWith('data:')),
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    title: document.title,
  };
  const out = document.createElement('pre');
  out.id = 'probe';
  out.textContent = JSON.stringify(seen);
  document.body.append(out);
});
</script>"""


def browse(html, place, width, height=900):
    """What the probe saw, and the lines that the browser wrote about its console."""
    allowed = html.replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';", 1)
    page = place / f"{width}.html"
    page.write_text(allowed.replace("</head>", PROBE + "</head>", 1), encoding="utf-8")
    done = subprocess.run(
        [
            *("chromium", *FLAGS, f"--user-data-dir={place / f'profile{width}'}"),
            *(f"--window-size={width},{height}", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=240,
    )
    found = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(found[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")), console


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    with evaluated(tmp_path_factory.mktemp("browser"), [HOSTILE, "a class", "gravel", "brick"]) as found:
        return render(found)


@pytest.mark.parametrize("width", [1280, 390])
def test_report_in_a_browser(report, tmp_path, width):
    seen, console = browse(report, tmp_path, width)
    assert console == []
    assert seen["loads"] == []
    assert seen["title"] == "Evaluation of data", "no error and no violation of its policy"
    assert seen["images"] == 4 * 3 * 3 * 2
    assert seen["empty"] == 0
    assert seen["charts"] == 4 * 4
    assert seen["overflow"] <= 0, "nothing is wider than the screen, names without spaces included"


def test_the_probe_sees_what_is_wrong(report, tmp_path):
    """The test above would fail: on a missing picture, a load from elsewhere, a script."""
    broken = report.replace("data:image/jpeg;base64,", "data:image/jpeg;base64,AAAA", 1)
    broken = broken.replace("<h2>", '<img src="https://example.invalid/x.png"><h2>', 1)
    broken = broken.replace("</body>", "<script>throw Error('broken')</script></body>", 1)
    seen, console = browse(broken, tmp_path, 1000)
    assert seen["empty"] == 2
    assert "violation:https://example.invalid/x.png" in seen["title"]
    assert "error:Uncaught Error: broken" in seen["title"]
    assert len(console) >= 2
