#!/usr/bin/env bash
# UniPose from the first pose to the last stage: the story of the paper, in the order in which it happens.
#
#   GPUS=8 DATA=records LLAVA=/weights/llava-v1.6-mistral-7b-hf POSE_VIT=/weights/tokenhmr_model.ckpt bash launch/unipose_all.sh
#   SIZE=small GPUS=1 DATA=records LANGUAGE=/weights/Qwen2.5-0.5B bash launch/unipose_all.sh   one GPU; CLIP=FOLDER to take a released one
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
base=() eyes=()
case "$SIZE" in
  paper)
    if [ -n "${LLAVA:-}" ]; then base+=("model.llava=$LLAVA"); fi
    if [ -n "${POSE_VIT:-}" ]; then base+=("model.vision.pose.folder=$POSE_VIT"); fi
    ;;
  *)
    if [ -n "${LANGUAGE:-}" ]; then base+=("model.language=$LANGUAGE"); fi
    if [ -z "${CLIP:-}" ]; then
      python -m train.run "$recipes/vision_clip.$SIZE.yaml"
      CLIP="$RUNS/unipose/vision_clip.$SIZE"
    fi
    eyes+=("model.vision.clip.folder=$CLIP")
    python -m train.run "$recipes/vision_pose.$SIZE.yaml"
    ;;
esac

# The language model learns poses: describe them, compare them, make them from words, edit them.
bash launch/unipose_2.sh ${base[@]+"${base[@]}"}

# It learns to see them: the projector alone.
bash launch/unipose_3.sh ${eyes[@]+"${eyes[@]}"}

# And to do all of it when asked, in two hundred ways of asking.
bash launch/unipose_4.sh

# What came of it: `llmpose eval list` names the paper's tables, `llmpose chat` talks to the model.
echo "llmpose chat --model $RUNS/unipose/4_instruct.$SIZE"
