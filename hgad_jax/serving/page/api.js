// Requests to the server that the page came from, and to nobody else.

const MOST_TRIES = 20;
let askToken = async () => "";

/** Sets who is asked for a token when the server wants one: an async function that returns it. */
export function onToken(ask) {
  askToken = ask;
}

/** What the server said of a request that it did not answer as it was meant. */
export class Refused extends Error {}

/** The model: its classes, thresholds and what they promise. */
export function describe(model) {
  return ask(`/v1/model${query({ model })}`);
}

/** The names of all models. */
export async function models() {
  return (await ask("/v1/models")).models.map((model) => model.name);
}

/** Scores one image, with its heat map and outlines. */
export async function predict(image, { model, className }) {
  const form = new FormData();
  form.append("images", image, image.name || "camera.png");
  const options = { model, class: className, heatmap: 1, contours: 1 };
  const said = await ask(`/v1/predict${query(options)}`, { method: "POST", body: form });
  return { ...said.results[0], model: said.model, generation: said.generation };
}

async function ask(path, options = {}) {
  for (let tries = 1; ; tries += 1) {
    const token = sessionStorage.getItem("token");
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    let answer;
    try {
      answer = await fetch(path, { ...options, headers });
    } catch (error) {
      throw new Refused("The server does not answer. Is it running, and is the network there?");
    }
    if (answer.ok) {
      return answer.json();
    }
    const error = await answer.json().then((said) => said.error, () => null);
    const message = error ? error.message : `The server answers with status ${answer.status}.`;
    if (answer.status === 401 && tries < MOST_TRIES) {
      const given = await askToken(Boolean(token));
      if (!given) {
        throw new Refused(message);
      }
      sessionStorage.setItem("token", given);
    } else if (answer.status === 503 && tries < MOST_TRIES) {
      await new Promise((go) => setTimeout(go, 1000 * Number(answer.headers.get("Retry-After") || 1)));
    } else {
      throw new Refused(message);
    }
  }
}

function query(options) {
  const given = Object.entries(options).filter(([, value]) => value !== undefined && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}
