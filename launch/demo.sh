#!/usr/bin/env bash
# From nothing to a trained model, a report with pictures and a chat, on a laptop: sets up .venv, then runs `llmpose demo`.
#
#   bash launch/demo.sh                   the whole demo: 20 to 30 minutes on two cores, keypoints some minutes more
#   bash launch/demo.sh --preset micro    the same walk in two or three minutes, without promising quality
#   bash launch/demo.sh --help            what can be set
#
# Killed anywhere, the same command goes on where it stopped.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
exec "$venv/bin/llmpose" demo "$@"
