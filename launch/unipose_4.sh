#!/usr/bin/env bash
# UniPose, stage 4: all seven tasks as people ask for them (§3.3 Fig. 3c): LoRA and projector.
#
#   GPUS=8 DATA=records bash launch/unipose_4.sh          the paper's stage on 8 GPUs (4 to 8 A100s), DeepSpeed ZeRO-2
#   SIZE=small GPUS=1 DATA=records bash launch/unipose_4.sh
#   SIZE=tiny GPUS=0 DATA=records bash launch/unipose_4.sh   the built-in world, on a CPU
#   bash launch/unipose_4.sh batch.micro=1                any field of the recipe
#
# Killed anywhere, the same command goes on where it stopped. ZERO=zero3 shards the weights, too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${SIZE:=paper}" "${DATA:=records}" "${GPUS:=8}" "${ZERO:=zero2}"
export LLMPOSE_DATA="$DATA"
recipe="launch/recipes/unipose/4_instruct.$SIZE.yaml"

if [ "$GPUS" -le 1 ]; then
  python -m train.run "$recipe" "$@"
else
  accelerate launch --config_file "launch/accelerate/$ZERO.yaml" --num_processes "$GPUS" -m train.run "$recipe" "$@"
fi
