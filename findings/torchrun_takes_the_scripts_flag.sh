#!/usr/bin/env bash
# torch 2.14.1. Guess: what stands after the script on torchrun's command line is the script's alone, so a training
# script may have a flag --log. Seen: torchrun ends with "ambiguous option: --log could match --log-dir, ..." and the
# script never starts; --log-to, which begins no flag of torchrun's, reaches it, and so does --log after a "--" that
# stands before the script.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6
cd "$folder"
echo 'import sys; print("flags of the script:", *sys.argv[1:])' > train.py
run() { venv/bin/torchrun "$@" 2>&1 | grep -E "flags of the script|ambiguous option" || true; }
taken=$(run --nproc-per-node 1 train.py --log wandb)
other=$(run --nproc-per-node 1 train.py --log-to wandb)
divided=$(run --nproc-per-node 1 -- train.py --log wandb)
printf '%s\n' "train.py --log wandb: $taken" "train.py --log-to wandb: $other" "-- train.py --log wandb: $divided"
grep -q "ambiguous option: --log" <<< "$taken"
grep -q "flags of the script: --log-to wandb" <<< "$other"
grep -q "flags of the script: --log wandb" <<< "$divided"
