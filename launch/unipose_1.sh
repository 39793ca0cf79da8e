#!/usr/bin/env bash
# UniPose, stage 1: the pose tokenizer (§3.1, suppl. §B.1). One GPU is enough: the model is small.
#
#   DATA=records bash launch/unipose_1.sh                  the paper's tokenizer
#   SIZE=tiny DATA=records bash launch/unipose_1.sh        the built-in world's, on a CPU
#   bash launch/unipose_1.sh optim.lr=1e-4                 any field of the recipe
#
# DATA is the folder with the prepared record sets `amass` and `moyo` (llmpose data prepare).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${SIZE:=paper}" "${DATA:=records}"
export LLMPOSE_DATA="$DATA"
if [ "$SIZE" = small ]; then SIZE=default; fi # ours, with half the paper's tokens

python -m train.run "launch/recipes/unipose/1_tokenizer.$SIZE.yaml" "$@"
