// The page: what is shown, and what happens when something is pressed.

import { describe, models, onToken, predict, Refused } from "/page/api.js";
import { decide, higherThan, percent, placeOf, promiseSaid, rateAt, shownClass, strictest } from "/page/decide.js";
import { keep, load, release, toCsv } from "/page/history.js";
import { pictureUrl, show, style } from "/page/picture.js";
import { listen } from "/page/sources.js";

const AT_ONCE = 4; // requests; the server puts what comes together into one batch
const MOST_SAID = 8; // classes whose promises are listed
const by = (id) => document.getElementById(id);

const state = {
  model: null, // what the server says of the model that is chosen
  results: load(), // the newest first
  shown: null, // the result that is looked at
  rate: null, // of false alarms that is accepted; null: as the model decides
  waiting: [],
  running: 0,
};

const promises = (result) =>
  state.model?.name === result.model && state.model?.generation === result.generation
    ? state.model.thresholds
    : null;
const decided = (result) => {
  const now = decide(result, promises(result), state.rate);
  return { ...now, className: shownClass(result) };
};

function fail(message) {
  by("error").textContent = message;
  by("error").hidden = !message;
}

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

function draw() {
  drawResult();
  drawPromises();
  drawRows();
}

function drawResult() {
  const result = state.shown;
  document.querySelector("main").classList.toggle("empty", !result);
  by("result").hidden = !result;
  if (!result) {
    return;
  }
  const now = decided(result);
  by("verdict").className = now.anomalous ? "anomalous" : "good";
  by("verdict").textContent = `${now.anomalous ? "Anomalous" : "Good"}: ${result.name}`;
  by("mark").style.left = `${100 * now.normalized}%`;
  const like = result.unknown ? `unlike any class, nearest to ${result.class_name}` : result.class_name;
  by("figures").textContent =
    `Score ${result.score.toPrecision(4)}, threshold ${now.threshold.toPrecision(4)} ` +
    `(${higherThan(result)}${now.normalized.toFixed(3)} on the scale). Class: ${like}, probability ` +
    `${result.class_probability.toFixed(2)}.`;
}

function drawPromises() {
  const model = state.model;
  by("rate").disabled = by("reset").disabled = !model;
  if (!model) {
    return;
  }
  const rate = state.rate ?? model.false_alarm_rate;
  by("rate-said").textContent = state.rate === null ? `as the model decides` : percent(rate);
  by("rate").value = 200 * placeOf(rate, strictest(model.thresholds));
  by("reset").disabled = state.rate === null;
  const own = state.shown?.class_name;
  const listed = [...model.thresholds].sort((a, b) => (b.class === own) - (a.class === own));
  const lines = listed.slice(0, MOST_SAID).map((one) => element("li", promiseSaid(one, state.rate)));
  const more = listed.length - lines.length;
  by("promised").replaceChildren(...lines, ...(more > 0 ? [element("li", `and ${more} more classes`)] : []));
}

function drawRows() {
  by("rows").replaceChildren(
    ...state.results.map((result) => {
      const row = element("tr", "", result === state.shown ? "shown" : "");
      row.append(element("td", new Date(result.time).toLocaleTimeString()), element("td", result.name, "name"));
      if (result.error) {
        const why = element("td", result.error, "name anomalous");
        why.colSpan = 4;
        row.append(why);
        return row;
      }
      const now = decided(result);
      const kind = now.anomalous ? "anomalous" : "good";
      row.append(
        element("td", kind, kind),
        element("td", now.className),
        element("td", result.score.toPrecision(4)),
        element("td", now.threshold.toPrecision(4)),
      );
      row.addEventListener("click", () => look(result));
      return row;
    }),
  );
  by("counted").textContent = state.results.length ? `(${state.results.length})` : "";
  by("csv").disabled = by("clear").disabled = !state.results.length;
}

function look(result) {
  state.shown = result;
  show(result);
  draw();
}

function take(files) {
  fail("");
  state.waiting.push(...files);
  while (state.running < AT_ONCE && state.waiting.length) {
    state.running += 1;
    work();
  }
}

async function work() {
  while (state.waiting.length) {
    const file = state.waiting.shift();
    say();
    const result = { time: new Date().toISOString(), name: file.name || "image", model: state.model?.name };
    try {
      const options = { model: by("model").value, className: by("class").value };
      Object.assign(result, await predict(file, options), { name: result.name });
      result.photo = URL.createObjectURL(file);
      result.heat = pictureUrl(result.heatmap.png);
      delete result.heatmap;
      if (state.model?.generation !== result.generation) {
        await choose(result.model); // the server has another model by now
      }
    } catch (error) {
      result.error = error instanceof Refused ? error.message : `The page failed: ${error.message}`;
      fail(`${result.name}: ${result.error}`);
    }
    state.results.unshift(result);
    keep(state.results);
    if (result.error) {
      draw();
    } else {
      look(result);
    }
  }
  state.running -= 1;
  say();
}

function say() {
  const left = state.waiting.length + state.running;
  by("waiting").textContent = left ? `${left} to be inspected …` : "";
}

async function choose(name) {
  state.model = await describe(name);
  const { classes, needs_class: needed, device, versions } = state.model;
  by("about").textContent = `${classes.length} ${classes.length === 1 ? "class" : "classes"}: ` +
    `${classes.slice(0, 6).join(", ")}${classes.length > 6 ? ", …" : ""}. hgad_jax ${versions.hgad_jax} on ${device}.`;
  by("class-choice").hidden = !needed;
  by("class").replaceChildren(...(needed ? classes.map((one) => new Option(one)) : []));
  draw();
}

async function start() {
  try {
    const names = await models();
    by("model").replaceChildren(...names.map((name) => new Option(name)));
    by("model-choice").hidden = names.length === 1;
    await choose(names.includes("default") ? "default" : names[0]);
    by("model").value = state.model.name;
  } catch (error) {
    by("about").textContent = "";
    fail(error.message);
  }
}

function saveCsv() {
  const text = toCsv(state.results, decided, state.rate);
  const url = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv" }));
  const link = element("a", "");
  link.href = url;
  link.download = "hgad_jax-results.csv";
  link.click();
  URL.revokeObjectURL(url);
}

function step(by) {
  const good = state.results.filter((result) => !result.error);
  const next = good[good.indexOf(state.shown) + by];
  if (next) {
    look(next);
  }
}

const KEYS = {
  o: () => by("choose").click(),
  c: () => by("camera").click(),
  h: () => { by("opacity").value = Number(by("opacity").value) ? 0 : 80; style(); },
  k: () => by("outlines").click(),
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
};

document.addEventListener("keydown", (event) => {
  const inForm = event.target.closest?.("input, select, dialog");
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!inForm && !event.ctrlKey && !event.metaKey && !event.altKey && KEYS[key]) {
    event.preventDefault();
    KEYS[key]();
  }
});
by("opacity").addEventListener("input", style);
by("outlines").addEventListener("change", style);
by("rate").addEventListener("input", () => {
  state.rate = rateAt(by("rate").value / 200, strictest(state.model.thresholds));
  draw();
});
by("reset").addEventListener("click", () => { state.rate = null; draw(); });
by("model").addEventListener("change", () => choose(by("model").value).catch((error) => fail(error.message)));
by("csv").addEventListener("click", saveCsv);
by("clear").addEventListener("click", () => {
  state.results.splice(0).forEach(release);
  state.shown = null;
  keep(state.results);
  draw();
});
onToken(async (wasWrong) => {
  fail(wasWrong ? "The token is not the server's." : "");
  by("token").value = "";
  by("ask-token").showModal();
  await new Promise((done) => by("ask-token").addEventListener("close", done, { once: true }));
  return by("token").value.trim();
});
listen(take, fail);
draw();
start();
