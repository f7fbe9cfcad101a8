#!/usr/bin/env bash
# Trains on a Cloud TPU slice: creates it, installs on every worker, runs train.py on all of them, deletes it.
# NOT RUN: written from the manuals of gcloud and of Cloud Storage FUSE; nobody has run it yet. See docs/tpu.md.
#
#   PROJECT=my-project ZONE=us-west4-a BUCKET=my-bucket RUN=mvtec \
#     scripts/tpu.sh --config=configs/hgad_mvtec_ad.py --config.data.root=/mnt/gs/my-bucket/mvtec
#
# Every command is printed; DRY_RUN=1 prints and runs nothing. Run again with the same RUN, it goes on from the
# last checkpoint.
set -euo pipefail

: "${PROJECT:?the project that pays}" "${ZONE:?a zone that has the accelerator}"
: "${BUCKET:?a bucket for the run, without gs://}" "${RUN:?a name for the run}"
ACCELERATOR=${ACCELERATOR:-v5litepod-8}
RUNTIME=${RUNTIME:-v2-alpha-tpuv5-lite} # v2-alpha-tpuv6e for v6e
NAME=${NAME:-hgad-jax-$RUN}
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

everywhere() { # runs a command on all workers at once; its status is the first that is not 0
  say_and_do gcloud compute tpus tpu-vm ssh "$NAME" "${at[@]}" --worker=all --command="$1"
}

delete() {
  [ -n "$KEEP" ] && return
  if [ "$QUEUED" = 1 ]; then
    say_and_do gcloud compute tpus queued-resources delete "$NAME" "${at[@]}" --force --quiet
  else
    say_and_do gcloud compute tpus tpu-vm delete "$NAME" "${at[@]}" --quiet
  fi
}
trap delete EXIT # also after an error: a slice costs money as long as it is there

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
everywhere 'mkdir -p hgad_jax && tar xzf hgad_jax.tar.gz -C hgad_jax && cd hgad_jax &&
  python3 -m venv .venv && .venv/bin/python -m pip install --quiet -e ".[tpu]"'
everywhere "sudo mkdir -p /mnt/gs/$BUCKET && sudo chown \$USER /mnt/gs/$BUCKET &&
  (mountpoint -q /mnt/gs/$BUCKET || gcsfuse --implicit-dirs $BUCKET /mnt/gs/$BUCKET)"

flags=$(printf ' %q' "$@" --config.cache.dir=/tmp/hgad_jax_cache --workdir="/mnt/gs/$BUCKET/$RUN")
everywhere "cd hgad_jax && .venv/bin/python train.py$flags"
