"""`watch` by brightness as a program of its own, that can be killed: watcher.py FOLDER OUT HEATMAPS."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from by_brightness import ByBrightness  # noqa: E402

from hgad_jax.serving.watch import Settings, until_signalled, watch  # noqa: E402

if __name__ == "__main__":
    folder, out, heatmaps = sys.argv[1:]
    settings = Settings(every=0.01, settle=0.05, patience=0.5, heatmaps=Path(heatmaps))
    done = watch(
        *("run", folder, out, settings),
        log=lambda line: print(line, flush=True),
        stop=until_signalled(),
        open_it=lambda path: ByBrightness(),
    )
    print(done)
