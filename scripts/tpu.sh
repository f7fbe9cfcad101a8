#!/usr/bin/env bash
# A run on a Cloud TPU slice: creates it, installs, fetches weights, trains on all workers, evaluates, copies the
# results here, and only then deletes the slice.
# NOT RUN: written from the manuals of gcloud and of Cloud Storage FUSE; nobody has run it yet. See docs/tpu.md.
#
#   PROJECT=my-project ZONE=us-west4-a BUCKET=my-bucket RUN=mvtec BACKBONE=tf_efficientnet_b6.aa_in1k \
#     scripts/tpu.sh --config=configs/hgad_mvtec_ad.py:paper --config.data.root=/mnt/gs/my-bucket/mvtec
#
# Every command is printed; DRY_RUN=1 prints and runs nothing. Run again with the same RUN, it goes on from the
# last checkpoint. What fails after training leaves the slice, and says how to delete it: results are there only.
set -euo pipefail

: "${PROJECT:?the project that pays}" "${ZONE:?a zone that has the accelerator}"
: "${BUCKET:?a bucket for the run, without gs://}" "${RUN:?a name for the run}"
ACCELERATOR=${ACCELERATOR:-v5litepod-8}
RUNTIME=${RUNTIME:-v2-alpha-tpuv5-lite} # v2-alpha-tpuv6e for v6e
NAME=${NAME:-hgad-jax-$RUN}
BACKBONE=${BACKBONE:-} # whose weights are fetched; empty: they come with a package, or with --config.backbone.source
PYTHON=${PYTHON:-3.12} # installed by uv where the image's own is older than 3.11
OUT=${OUT:-results/$RUN} # where the results are copied to, here
SPOT=${SPOT:-} # SPOT=1: cheaper, may be taken away at any time
QUEUED=${QUEUED:-1} # 0: ask once and fail when there is none, instead of waiting in a queue
KEEP=${KEEP:-} # KEEP=1: do not delete the slice at the end

say_and_do() {
  printf '+ %q' "$1"; printf ' %q' "${@:2}"; echo
  [ -n "${DRY_RUN:-}" ] || "$@"
}

at=(--project="$PROJECT" --zone="$ZONE")
what=(--accelerator-type="$ACCELERATOR")
[ -z "$SPOT" ] || what+=(--spot)
workdir=/mnt/gs/$BUCKET/$RUN

on() { # runs a command on a worker, or on all at once; its status is the first that is not 0
  say_and_do gcloud compute tpus tpu-vm ssh "$NAME" "${at[@]}" --worker="$1" --command="$2"
}

if [ "$QUEUED" = 1 ]; then
  deleting=(gcloud compute tpus queued-resources delete "$NAME" "${at[@]}" --force --quiet)
else
  deleting=(gcloud compute tpus tpu-vm delete "$NAME" "${at[@]}" --quiet)
fi
trained='' # set from the end of training on: the slice then has what is not here yet

finish() {
  local status=$?
  if [ -n "$KEEP" ] || { [ "$status" != 0 ] && [ -n "$trained" ]; }; then
    echo "The slice is still there and costs money. To delete it:"
    printf '  %q' "${deleting[@]}"; echo
  else
    say_and_do "${deleting[@]}"
  fi
}
trap finish EXIT # also after an error: a slice costs money as long as it is there

if [ "$QUEUED" = 1 ]; then
  say_and_do gcloud compute tpus queued-resources create "$NAME" "${at[@]}" "${what[@]}" \
    --node-id="$NAME" --runtime-version="$RUNTIME"
  until [ -n "${DRY_RUN:-}" ] || [ "$(gcloud compute tpus queued-resources describe "$NAME" "${at[@]}" \
      --format='value(state.state)')" = ACTIVE ]; do sleep 30; done
else
  say_and_do gcloud compute tpus tpu-vm create "$NAME" "${at[@]}" "${what[@]}" --version="$RUNTIME"
fi

# The working tree as it is committed: the workers need no access to its repository.
archive=$(mktemp -d)/hgad_jax.tar.gz
say_and_do git archive --format=tar.gz --output="$archive" HEAD
say_and_do gcloud compute tpus tpu-vm scp "$archive" "$NAME":hgad_jax.tar.gz "${at[@]}" --worker=all
on all 'mkdir -p hgad_jax && tar xzf hgad_jax.tar.gz -C hgad_jax'

# Images of Ubuntu 22.04 have Python 3.10: then uv brings one of its own.
on all "cd hgad_jax &&
  if python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then python3 -m venv .venv
  else python3 -m pip install --quiet --user uv && python3 -m uv venv --seed --python $PYTHON .venv; fi &&
  .venv/bin/python -c 'import sys; assert sys.version_info >= (3, 11), sys.version' &&
  .venv/bin/python -m pip install --quiet -e '.[tpu]'"
on all "sudo mkdir -p /mnt/gs/$BUCKET && sudo chown \$USER /mnt/gs/$BUCKET &&
  (mountpoint -q /mnt/gs/$BUCKET || gcsfuse --implicit-dirs $BUCKET /mnt/gs/$BUCKET)"
[ -z "$BACKBONE" ] || on all "cd hgad_jax && .venv/bin/python -m hgad_jax fetch $(printf %q "$BACKBONE")"

flags=$(printf ' %q' "$@" --config.cache.dir=/tmp/hgad_jax_cache --workdir="$workdir")
on all "cd hgad_jax && .venv/bin/python -m hgad_jax train$flags"
trained=1

# One process is enough to evaluate: worker 0, with its own chips alone.
one="TPU_PROCESS_BOUNDS=1,1,1 TPU_VISIBLE_CHIPS=0 TPU_CHIPS_PER_PROCESS_BOUNDS=1,1,1"
on 0 "cd hgad_jax && $one .venv/bin/python -m hgad_jax eval $(printf %q "--workdir=$workdir") --report"
say_and_do mkdir -p "$OUT"
for file in config.json metrics.jsonl eval; do
  say_and_do gcloud compute tpus tpu-vm scp --recurse "$NAME:$workdir/$file" "$OUT" "${at[@]}" --worker=0
done
echo "Results: $OUT; checkpoints: gs://$BUCKET/$RUN"
