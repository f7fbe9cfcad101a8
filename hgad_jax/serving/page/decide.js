// From an accepted rate of false alarms to thresholds and decisions: arithmetic only.

const LOOSEST = 0.5;
const LEAST_SCALE = 1e-6;

/** The strictest rate that any class of a model can promise. */
export function strictest(promises) {
  return Math.min(...promises.map((promise) => promise.curve[0].rate));
}

/** The rate at a place of the slider, 0 to 1: even steps of its logarithm. */
export function rateAt(place, least) {
  return Math.exp(Math.log(least) + place * (Math.log(LOOSEST) - Math.log(least)));
}

/** The place of a rate on the slider. */
export function placeOf(rate, least) {
  const place = (Math.log(rate) - Math.log(least)) / (Math.log(LOOSEST) - Math.log(least));
  return Math.min(1, Math.max(0, place));
}

/** The loosest promise of a class within a rate; the strictest there is where its images are too few. */
export function pointAt(curve, rate) {
  const within = curve.filter((point) => point.rate <= rate * (1 + 1e-9));
  return { ...(within.at(-1) ?? curve[0]), tooFew: within.length === 0 };
}

/** A score from 0 to 1, 0.5 at the threshold, a typical good image at 0.25. */
export function normalized(score, threshold, typical) {
  const x = (score - threshold) / Math.max(threshold - typical, LEAST_SCALE);
  return 0.5 + (0.5 * x) / (1 + Math.abs(x));
}

/**
 * What is decided of a result at a rate.
 * @param result of the server.
 * @param promises of the model that gave it; null if that is not known any more.
 * @param rate accepted; null for what the model decides by itself.
 */
export function decide(result, promises, rate) {
  const promise = promises?.find((one) => one.class === result.class_name);
  if (rate === null || !promise) {
    return { threshold: result.threshold, normalized: result.normalized, anomalous: result.anomalous };
  }
  const threshold = pointAt(promise.curve, rate).threshold;
  return {
    threshold,
    normalized: normalized(result.score, threshold, promise.threshold.typical),
    // One that the model rejects below its threshold is of no known class.
    anomalous: result.score > threshold || (result.anomalous && result.score <= result.threshold),
  };
}

/** The class that is shown: the one that the image was scored as. */
export function shownClass(result) {
  return result.unknown ? `${result.class_name}?` : result.class_name;
}

/** How unusual a score is. */
export function higherThan(result) {
  return result.p_value === undefined ? "" : `higher than ${percent(1 - result.p_value)} of good parts; `;
}

/** A share as text. */
export function percent(share) {
  return `${(100 * share).toLocaleString("en", { maximumSignificantDigits: share < 0.1 ? 2 : 3 })} %`;
}

/**
 * What a class is promised, as a sentence.
 * @param promise of the class.
 * @param rate accepted; null for the threshold that the model decides by.
 */
export function promiseSaid(promise, rate) {
  const own = promise.threshold;
  const asked = promise.asked;
  const promised = own.kind === "conformal" || own.kind === "tail";
  const few = promised && own.rate > asked * (1 + 1e-9);
  const point =
    rate === null
      ? { rate: own.rate, low: own.interval[0], high: own.interval[1], threshold: own.value, tooFew: few }
      : pointAt(promise.curve, rate);
  const verb = rate !== null || promised ? "at most" : "about";
  const but = point.tooFew ? "; fewer cannot be promised, there are too few good images" : "";
  return (
    `${promise.class}: ${verb} ${percent(point.rate)} of good parts are called anomalous (95 % interval ` +
    `${percent(point.low)} to ${percent(point.high)}, ${own.images} good images${but}). Threshold ` +
    `${point.threshold.toPrecision(4)}.`
  );
}
