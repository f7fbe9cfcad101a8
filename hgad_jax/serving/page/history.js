// The last results of this browser: kept over visits without their images, and saved as CSV.

const KEY = "results";
const MOST = 100;
const KEPT = [
  "time", "name", "model", "generation", "class_name", "unknown", "p_value", "score", "normalized", "threshold",
  "anomalous", "class_probability", "error",
];
const COLUMNS = [
  "time", "name", "model", "class", "score", "threshold", "normalized", "decision", "accepted_rate", "error",
];

/** The results of before, the newest first. */
export function load() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(found) ? found.slice(0, MOST) : [];
  } catch {
    return [];
  }
}

/** Keeps results; of those that fall out, the images are let go. */
export function keep(results) {
  for (const old of results.splice(MOST)) {
    release(old);
  }
  const plain = results.map((result) => Object.fromEntries(KEPT.map((key) => [key, result[key]])));
  try {
    localStorage.setItem(KEY, JSON.stringify(plain));
  } catch {
    // A browser that keeps nothing: they are there until the page is closed.
  }
}

/** Lets the pictures of a result go. */
export function release(result) {
  for (const url of [result.photo, result.heat]) {
    if (url) {
      URL.revokeObjectURL(url);
    }
  }
}

/** The results as a table, for a file. */
export function toCsv(results, decided, rate) {
  const rows = results.map((result) => {
    if (result.error) {
      return [result.time, result.name, result.model, "", "", "", "", "", "", result.error];
    }
    const now = decided(result);
    const decision = now.anomalous ? "anomalous" : "good";
    return [
      result.time, result.name, result.model, now.className, result.score, now.threshold,
      now.normalized, decision, rate ?? "", "",
    ];
  });
  return [COLUMNS, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function cell(value) {
  let text = String(value ?? "");
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) {
    text = `'${text}`; // a spreadsheet would compute it
  }
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
