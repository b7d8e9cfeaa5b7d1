#!/usr/bin/env bash
# torch 2.14.1. Guess: torchrun ends with the exit code of the script, as srun, timeout and nohup do, so a batch file may
# ask whether it is 130 (interrupted) or 75 (try again) before it starts the job anew. Seen: whatever the script's code,
# torchrun's is 1; the script's stands only in its report on stderr.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6
cd "$folder"
echo 'import sys; sys.exit(int(sys.argv[1]))' > train.py
for code in 0 2 75 130; do
    alone=0; venv/bin/python train.py "$code" || alone=$?
    launched=0; venv/bin/torchrun --standalone --nproc-per-node 2 train.py "$code" 2> report || launched=$?
    echo "the script ends with $code: python with $alone, torchrun with $launched"
    [ "$alone" = "$code" ]
    if [ "$code" = 0 ]; then [ "$launched" = 0 ]; else [ "$launched" = 1 ] && grep -q "exitcode *: $code " report; fi
done
