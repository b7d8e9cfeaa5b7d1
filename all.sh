#!/usr/bin/env bash
# Train all folds of a setting.
set -euo pipefail

usage() {
    cat << 'TEXT'
Train all folds of a setting, one after the other. What is finished is skipped, what was interrupted goes on; the first
failure stops it.

    ./all.sh DATASET=pascal DATA_ROOT=../Datasets_SSP BACKBONE=resnet50 SHOT=1
    ./all.sh DATASET=coco CLASS_ORDER=contiguous SHOT=5 FOLDS="0 2" -- --accumulate 2
    PYTHON="torchrun --nproc-per-node 4" ./all.sh

DATASET      pascal, coco or fss, which has no folds    (pascal)
DATA_ROOT    the dataset's folder, or the one above     (../Datasets_SSP)
BACKBONE     resnet50, resnet101, timm:NAME, FILE.py:CLASS  (resnet50)
SHOT         supports of an episode                     (1)
METHOD       ssp, baseline, FILE.py:CLASS               (ssp)
REFINE       1 or 0: the self-support refinement        (1 of ssp, as in the paper's tables)
CLASS_ORDER  of coco: contiguous or interleaved
SPLITS       HSNet's data/splits, for fss without lists
FOLDS                                                   ("0 1 2 3")
OUT          folder for everything written              (outdir)
PYTHON       a file, or a command with its flags, that runs main.py (python)

Each is set as an argument or as a variable of the environment. Flags after -- go to main.py.
TEXT
}

MORE_NAMES=
. "$(dirname -- "$0")/setting.sh"
[ "${METHOD:-ssp}" != ssp ] || [ -n "${REFINE:-}" ] || flags+=(--refine)

train() {
    echo "== training${1:+, fold $1} =="
    "${python[@]}" "$HERE/main.py" "${flags[@]}" ${1:+--fold "$1"} --resume ${more[@]+"${more[@]}"}
}

for_each_fold train
