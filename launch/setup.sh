#!/usr/bin/env bash
# Makes .venv with everything the demo, the tests and training on this machine need. Safe to run again: a second run costs
# a second. Sourced by demo.sh and test.sh; run alone it only sets up.
#
#   bash launch/setup.sh
#
# Settings, all optional (environment variables):
#   LLMPOSE_PYTHON   the Python to use (3.11 or newer); found by itself otherwise
#   LLMPOSE_VENV     where the virtual environment goes; default .venv in the checkout
#   LLMPOSE_TORCH    a pip requirement for torch, e.g. "torch==2.11.0"; chosen to fit the machine otherwise
#   LLMPOSE_TORCH_INDEX   address of a package index to take torch from, e.g. one with builds for CPUs only
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stop() { printf 'setup: %s\n' "$*" >&2; exit 1; }
say() { printf 'setup: %s\n' "$*"; }

# --- Python 3.11 or newer, with venv ---------------------------------------------------------------------------------
new_enough='import sys; sys.exit(sys.version_info < (3, 11))'
python="${LLMPOSE_PYTHON:-}"
if [ -z "$python" ]; then
    for candidate in python3 python3.13 python3.12 python3.11 python; do
        if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c "$new_enough" >/dev/null 2>&1; then
            python="$candidate"
            break
        fi
    done
fi
[ -n "$python" ] || stop "no Python 3.11 or newer found; install one (Debian/Ubuntu: apt install python3 python3-venv; macOS: brew install python@3.12) or set LLMPOSE_PYTHON"
command -v "$python" >/dev/null 2>&1 || stop "LLMPOSE_PYTHON is $python, and there is no such program; set it to a Python 3.11 or newer"
"$python" -c "$new_enough" 2>/dev/null || stop "$python is not Python 3.11 or newer; set LLMPOSE_PYTHON to one that is"
"$python" -c 'import venv, ensurepip' 2>/dev/null || stop "$python has no venv module; install it (Debian/Ubuntu: apt install python3-venv)"

venv="${LLMPOSE_VENV:-.venv}"
extras="train,raw,smplx,dev"
stamp="$venv/.llmpose-ready"
# What is installed depends on these; when none of them changed there is nothing to do.
wanted="$("$python" -c 'import hashlib, sys; print(hashlib.sha256(b"".join(open(f, "rb").read() for f in sys.argv[1:])).hexdigest())' \
    pyproject.toml launch/setup.sh) $("$python" -V) $extras ${LLMPOSE_TORCH:-} ${LLMPOSE_TORCH_INDEX:-}"

if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
    # --- room on the disk: about 3 GB for the CPU build, 9 GB with CUDA ---------------------------------------------
    has_gpu=no
    if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU; then has_gpu=yes; fi
    need_mib=4000
    [ "$has_gpu" = yes ] && need_mib=12000
    roomy_mib=12000
    mkdir -p "$(dirname "$venv")" 2>/dev/null && [ -w "$(dirname "$venv")" ] ||
        stop "$(dirname "$venv") cannot be written to; set LLMPOSE_VENV to a folder that can"
    free_mib=$(df -Pm "$(dirname "$venv")" | awk 'NR == 2 {print $4}')
    if [ "$free_mib" -lt "$need_mib" ]; then
        [ -x "$venv/bin/python" ] || stop "only $free_mib MiB are free here, $need_mib are needed; free some space or set LLMPOSE_VENV to a folder on another disk"
    fi

    if [ "$has_gpu" = no ] && [ "$(uname -s)" = Linux ] && [ -z "${LLMPOSE_TORCH_INDEX:-}" ] && [ "$free_mib" -lt "$roomy_mib" ]; then
        say "$free_mib MiB are free; where torch comes with CUDA (most Linux builds) it takes 9 GB: set LLMPOSE_TORCH_INDEX to an index with CPU builds to spare them"
    fi

    [ -x "$venv/bin/python" ] || { say "creating $venv with $("$python" -V)"; "$python" -m venv "$venv" || stop "could not create $venv"; }
    log="$venv/setup.log"
    pip() { "$venv/bin/python" -m pip "$@" >>"$log" 2>&1; }
    failed() {
        if grep -qiE 'No space left' "$log"; then stop "the disk is full; free about $need_mib MiB and run again"; fi
        if grep -qiE 'connection|resolve host|name resolution|network|timed? ?out|proxy|unreachable' "$log"; then
            stop "could not reach the package index; check the network or proxy settings and run again (details: $log)"
        fi
        stop "$1 (details: $log)"
    }
    : >"$log"

    # --- torch first, so that nothing else picks a build for us ------------------------------------------------------
    # Which build pip finds is the machine's affair: its index, its mirrors, its folders of wheels. We name no index of our
    # own, because a mirror, a proxy or a closed network would be passed by. The usual index has only builds with CUDA for
    # Linux; they run without a GPU and cost gigabytes. uv knows where builds for CPUs are; where it cannot go there, the
    # version that the project is tested with comes first: a machine that holds a CPU build of just that one gets it.
    if ! "$venv/bin/python" -c 'import torch' 2>/dev/null || [ -n "${LLMPOSE_TORCH:-}" ]; then
        from=()
        [ -n "${LLMPOSE_TORCH_INDEX:-}" ] && from=(--index-url "$LLMPOSE_TORCH_INDEX")
        if [ -n "${LLMPOSE_TORCH:-}" ]; then
            say "installing ${LLMPOSE_TORCH} (as told)"
            pip install ${from[@]+"${from[@]}"} "$LLMPOSE_TORCH" || failed "could not install ${LLMPOSE_TORCH}"
        elif [ "$has_gpu" = yes ] || [ "$(uname -s)" = Darwin ] || [ "${#from[@]}" -gt 0 ]; then
            say "installing torch"
            pip install ${from[@]+"${from[@]}"} 'torch>=2.9' || failed "could not install torch"
        else
            say "installing torch without CUDA"
            cpu_build() {
                pip install 'uv>=0.7' && UV_HTTP_TIMEOUT=30 "$venv/bin/uv" pip install \
                    --python "$venv/bin/python" --torch-backend=cpu 'torch>=2.9' >>"$log" 2>&1
            }
            cpu_build || { : >"$log"; pip install 'torch==2.13.0'; } || { : >"$log"; pip install 'torch>=2.9'; } || failed "could not install torch"
        fi
    fi
    say "installing llmpose and what it needs"
    pip install -e ".[$extras]" || failed "could not install llmpose's dependencies"
    printf '%s\n' "$wanted" >"$stamp"
    say "ready: $("$venv/bin/python" -c 'import torch; print("torch", torch.__version__)') in $venv"
fi
