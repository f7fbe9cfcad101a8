"""Export a trained run for a line: `hgad-jax export RUN OUT`.

OUT, a folder or one file (--zip), holds everything from an image to a decision: programs, weights,
thresholds, a model card. `hgad_jax.load(OUT)(image)` needs jax, NumPy, Pillow, safetensors and flatbuffers
alone. Before OUT is kept, a fresh process loads it and must say what the run says. Exit status: 0 done,
2 something to mend, 3 a fault of hgad_jax, 75 stopped by SIGTERM.
"""

from absl import flags

from hgad_jax.cli import shell
from hgad_jax.errors import UserError

_ZIP = flags.DEFINE_bool("zip", False, "Write one file in place of a folder; it is loaded as it is.")
_PLATFORMS = flags.DEFINE_list(
    "platforms", ["cpu", "cuda", "tpu"], "What OUT is to compute on, of cpu, cuda, rocm and tpu."
)
_FORMAT = flags.DEFINE_enum(
    "format",
    "jax",
    ["jax", "onnx"],
    "What OUT is for: hgad_jax.load, serve and watch; or ONNX Runtime and what else reads ONNX (needs "
    "hgad_jax[onnx]).",
)
_AT_ONCE = flags.DEFINE_integer("images_at_once", 1, "Images that the program takes, with --format=onnx.", 1)
_IMAGES = flags.DEFINE_multi_string(
    "images",
    [],
    "File, folder or pattern of images to compare on; may be given several times. By default made ones and, "
    "where they can be reached, some of the run's.",
)
_FORCE = flags.DEFINE_bool("force", False, "Replace an artefact that is at OUT.")


def main() -> None:
    """Runs the command."""
    shell.run(_export, module=__name__, arguments=True)


def _export(places: list[str]) -> None:
    if len(places) != 2:
        raise UserError(
            f"{len(places)} arguments are given, expected two: hgad-jax export RUN OUT, the folder of the "
            "run and the folder, or file, to write."
        )
    from hgad_jax import api  # after the flags: importing jax takes a second
    from hgad_jax.runs import processes

    processes.refuse_several("export")
    if _FORMAT.value == "onnx":
        _refuse_of_jax()
        api.export_onnx(
            *places,
            images_at_once=_AT_ONCE.value,
            to_compare=_IMAGES.value,
            force=_FORCE.value,
            log=shell.say,
        )
        return
    api.export(
        *places,
        zipped=_ZIP.value,
        platforms=_PLATFORMS.value,
        to_compare=_IMAGES.value,
        force=_FORCE.value,
        log=shell.say,
    )


def _refuse_of_jax() -> None:
    for name in ("zip", "platforms"):
        if flags.FLAGS[name].present:
            raise UserError(f"--{name} is for --format=jax; leave it away with --format=onnx.")
