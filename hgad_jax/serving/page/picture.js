// An image with what was found in it: a heat map that can be faded, and outlines.

const SVG = "http://www.w3.org/2000/svg";
const by = (id) => document.getElementById(id);

/** A URL of a PNG that came as base64. */
export function pictureUrl(png) {
  const bytes = Uint8Array.from(atob(png), (character) => character.charCodeAt(0));
  return URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
}

/** Shows a result with its pictures, as far as they are still there. */
export function show(result) {
  const [photo, heat] = [by("photo"), by("heat")];
  const blank = blankUrl(result);
  by("unshown").hidden = true;
  photo.onerror = () => {
    photo.onerror = null;
    photo.src = blank;
    by("unshown").hidden = false;
  };
  by("stage").hidden = !result.heat;
  photo.alt = result.name;
  if (result.heat) {
    photo.src = result.photo ?? blank;
    heat.src = result.heat;
    outline(result);
  }
  style();
}

/** Brings the pictures to what the controls say. */
export function style() {
  by("heat").style.opacity = by("opacity").value / 100;
  by("outline").style.display = by("outlines").checked ? "" : "none";
}

// A picture of the image's proportions, for what the browser cannot show.
function blankUrl({ width, height }) {
  const canvas = document.createElement("canvas");
  const scale = Math.min(1, 1024 / Math.max(width, height, 1));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#888";
  context.fillRect(0, 0, canvas.width, canvas.height);
  return canvasUrl(canvas);
}

function canvasUrl(canvas) {
  const [, data] = canvas.toDataURL("image/png").split(",");
  return pictureUrl(data);
}

function outline({ width, height, contours }) {
  const svg = by("outline");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  const closed = (loop) => `M${loop.map((corner) => corner.join(" ")).join("L")}Z`;
  svg.replaceChildren(
    ...(contours?.regions ?? []).map((region) => {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("d", [region.outline, ...region.holes].map(closed).join(""));
      return path;
    }),
  );
}
