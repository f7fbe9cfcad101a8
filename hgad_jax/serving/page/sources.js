// Where images come from: dropped, pasted, chosen, or taken from the camera.

const by = (id) => document.getElementById(id);

/** Calls `take` with a list of files whenever there are some. */
export function listen(take, fail) {
  const drop = by("drop");
  const withFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      if (withFiles(event)) {
        event.preventDefault();
        drop.classList.add("over");
      }
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) {
      drop.classList.remove("over");
    }
  });
  document.addEventListener("drop", (event) => {
    drop.classList.remove("over");
    if (withFiles(event)) {
      event.preventDefault();
      take([...event.dataTransfer.files]);
    }
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) {
      event.preventDefault();
      take(files);
    }
  });
  for (const id of ["files", "shot"]) {
    by(id).addEventListener("change", (event) => {
      take([...event.target.files]);
      event.target.value = ""; // the same file may be chosen again
    });
  }
  by("choose").addEventListener("click", () => by("files").click());
  by("camera").addEventListener("click", () => openCamera(fail));
  by("shoot").addEventListener("click", () => shoot(take));
  by("close-camera").addEventListener("click", () => by("viewfinder").close());
  by("viewfinder").addEventListener("close", stopCamera);
}

async function openCamera(fail) {
  if (!navigator.mediaDevices?.getUserMedia) {
    by("shot").click(); // browsers give the camera itself to https and localhost only; phones have an app
    return;
  }
  try {
    const wanted = { video: { facingMode: "environment", width: { ideal: 4096 }, height: { ideal: 4096 } } };
    by("video").srcObject = await navigator.mediaDevices.getUserMedia(wanted);
    by("viewfinder").showModal();
    by("shoot").focus();
  } catch (error) {
    fail(`The camera cannot be used: ${error.message || error.name}. Allow it in the browser, or choose images.`);
  }
}

async function shoot(take) {
  const video = by("video");
  if (!video.videoWidth) {
    return; // no picture yet
  }
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  const stamp = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
  take([new File([blob], `camera-${stamp}.png`, { type: "image/png" })]);
}

function stopCamera() {
  const video = by("video");
  for (const track of video.srcObject?.getTracks() ?? []) {
    track.stop();
  }
  video.srcObject = null;
}
