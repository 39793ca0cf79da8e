#!/usr/bin/env bash
# Sets up .venv and runs the tests.
#
#   bash launch/test.sh                   the default tests, a few minutes on two cores
#   bash launch/test.sh -m slow           the slow ones: several processes, DeepSpeed, kills and resumes
#   bash launch/test.sh tests/llmpose     one folder; anything pytest takes
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec "$venv/bin/python" -m pytest -n "${LLMPOSE_TEST_PROCESSES:-2}" "$@"
