#!/usr/bin/env bash
# UniPose from the first pose to the last stage: the story of the paper, in the order in which it happens.
#
#   GPUS=8 DATA=records bash launch/unipose_all.sh
#   SIZE=tiny GPUS=0 DATA=records bash launch/unipose_all.sh      the same on the built-in world and a CPU
#
# DATA holds the prepared record sets (docs/ says which, and how they are made from what you may download). RUNS is where
# runs are written. Every step can be killed and goes on where it stopped; a finished step is passed over.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${SIZE:=paper}" "${DATA:=records}" "${GPUS:=8}" "${RUNS:=runs}"
export SIZE DATA GPUS LLMPOSE_DATA="$DATA" LLMPOSE_RUNS="$RUNS"
recipes=launch/recipes/unipose

# A pose becomes a row of tokens and comes back (§3.1).
bash launch/unipose_1.sh

# Eyes. The paper takes them as they are: CLIP from LLaVA, the pose ViT from TokenHMR. A world without pretrained
# encoders trains its own first: one on pictures and sentences, one on people's keypoints and rotations.
if [ "$SIZE" != paper ]; then
  python -m train.run "$recipes/vision_clip.$SIZE.yaml"
  python -m train.run "$recipes/vision_pose.$SIZE.yaml"
fi

# The language model learns poses: describe them, compare them, make them from words, edit them.
bash launch/unipose_2.sh

# It learns to see them: the projector alone.
bash launch/unipose_3.sh

# And to do all of it when asked, in two hundred ways of asking.
bash launch/unipose_4.sh

# What came of it: `llmpose eval list` names the paper's tables, `llmpose chat` talks to the model.
echo "llmpose chat --model $RUNS/unipose/4_instruct.$SIZE"
