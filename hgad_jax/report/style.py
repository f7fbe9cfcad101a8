"""The report's style sheet: light and dark, wide and narrow, no font or file from elsewhere."""

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--card:#f6f8fa;--line:#d5dbe1;--text:#1c2128;--soft:#59636e;
--good:#2f7ebc;--bad:#e0662b;--pro:#2b9a66;--limit:#8a3ffc;--link:#0b62c4}
@media(prefers-color-scheme:dark){:root{--bg:#0f1318;--card:#171c23;--line:#303944;--text:#e4e8ec;
--soft:#9aa5b1;--good:#5aa9e6;--bad:#ff8f57;--pro:#4cc38a;--limit:#b68cff;--link:#74b3ff}}
*{box-sizing:border-box}html{scroll-behavior:smooth}
body{margin:0 auto;max-width:1180px;padding:20px 20px 60px;background:var(--bg);color:var(--text);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.7rem;line-height:1.2;margin:.2em 0}h2{font-size:1.2rem;margin:1.8em 0 .5em}
h3{font-size:1rem;margin:1.4em 0 .5em}p{margin:.4em 0;max-width:75ch}a{color:var(--link)}
.warn{color:var(--bad);font-weight:600}.soft,small,figcaption{color:var(--soft)}small,figcaption{font-size:.8rem}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px;margin:16px 0}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:10px 14px}
.card b{display:block;font-size:1.5rem;line-height:1.25;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto;border:1px solid var(--line);border-radius:10px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.88rem}
th,td{padding:6px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
tbody tr:last-child>*{border-bottom:0}th:first-child{text-align:left;position:sticky;left:0;
background:var(--bg);white-space:normal;min-width:7.5em;max-width:40vw}
thead th{color:var(--soft);font-weight:600;vertical-align:bottom}th[colspan]{text-align:center;
border-left:1px solid var(--line)}td small{display:block;line-height:1.2}
tr.sum>*{background:var(--card);font-weight:600}tr.sum small{font-weight:400}
.toc{display:flex;flex-wrap:wrap;gap:6px;padding:0;margin:8px 0;list-style:none}
.toc a{display:block;padding:3px 10px;border:1px solid var(--line);border-radius:99px;
background:var(--card);text-decoration:none;font-size:.85rem}
.toc span{color:var(--soft)}
details.class{border:1px solid var(--line);border-radius:12px;margin:12px 0;padding:0 16px}
details.class>div{padding-bottom:16px}
summary{cursor:pointer;padding:12px 0;font-weight:600}summary span{font-weight:400;color:var(--soft)}
details[open].class>summary{border-bottom:1px solid var(--line);margin-bottom:12px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(250px,100%),1fr));gap:14px}
.charts figure{margin:0;max-width:420px}.chart{width:100%;height:auto;display:block}
.chart text{font-size:12px;fill:var(--soft)}.axis{stroke:var(--soft);fill:none}
.area.good{fill:var(--good)}.area.bad{fill:var(--bad)}.area{fill-opacity:.5}
.curve{fill:none;stroke-width:2}.curve.image{stroke:var(--good)}.curve.pixel{stroke:var(--bad)}
.curve.pro{stroke:var(--pro)}.chance{stroke:var(--line);stroke-dasharray:3 3;fill:none}
.limit{stroke:var(--limit);stroke-width:1.6;stroke-dasharray:5 3;fill:none}
.key{display:inline-block;width:.75em;height:.75em;border-radius:3px;margin:0 .3em 0 .1em}
.key.good,.key.image{background:var(--good)}.key.bad,.key.pixel{background:var(--bad)}
.key.pro{background:var(--pro)}
.shots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(300px,100%),1fr));gap:14px}
.shots figure{margin:0}.pair{display:grid;grid-template-columns:1fr 1fr;gap:3px}
.pic{position:relative;aspect-ratio:1}.pic>*{position:absolute;inset:0;width:100%;height:100%;
border-radius:4px}.pic path{fill:none;stroke:#00e0ff;stroke-width:1.5;stroke-linecap:square;
vector-effect:non-scaling-stroke}.pic .found path{stroke:#fff;stroke-dasharray:4 2}
.scale{max-width:420px;margin:10px 0}.scale svg{width:100%;height:auto}.scale text{font-size:11px;
fill:var(--soft)}
pre{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px;
font-size:.8rem}
@media(max-width:520px){body{padding:14px 12px 40px;font-size:14.5px}details.class{padding:0 10px}
.card b{font-size:1.25rem}
.cards{grid-template-columns:repeat(auto-fill,minmax(105px,1fr))}.card{padding:8px 10px}
.charts figure{max-width:none}th,td{padding:6px 7px}}
@media print{details.class{break-inside:avoid}}
"""
