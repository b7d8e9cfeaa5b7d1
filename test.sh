#!/usr/bin/env bash
# Test the checkpoints of all folds of a setting.
set -euo pipefail

usage() {
    cat << 'TEXT'
Test the checkpoints of all folds of a setting and write the results to OUT/results, for report.py. A result that is there,
of the same weights, data and flags, is not computed again; the first failure stops it.

    ./test.sh DATASET=pascal DATA_ROOT=../Datasets_SSP BACKBONE=resnet50 SHOT=1
    ./test.sh CHECKPOINT='authors/fold{fold}_r50.pth' TRAINED_ON='{fold}' REFINE=1
    ./hsnet_test.sh DATASET=coco SPLITS=../hsnet/data/splits     the same as ./test.sh PROTOCOL=hsnet ...

DATASET      pascal, coco or fss, which has no folds    (pascal)
DATA_ROOT    the dataset's folder, or the one above     (../Datasets_SSP)
BACKBONE     resnet50, resnet101, timm:NAME, FILE.py:CLASS                      (resnet50)
SHOT         supports of an episode                     (1)
METHOD       ssp, baseline, FILE.py:CLASS                            (ssp)
REFINE       1 or 0: the self-support refinement        (what the checkpoint says; in HSNet's protocol 0)
CLASS_ORDER  of coco: contiguous or interleaved         (in HSNet's protocol interleaved)
SPLITS       HSNet's data/splits, for its protocol, and for fss without lists
FOLDS                                                   ("0 1 2 3")
PROTOCOL     ssp, the paper's own, or hsnet             (ssp)
CHECKPOINT   a file, or a folder that holds one checkpoint, with {fold} in place of the number; what is not set then
             is as the checkpoint says                  (the run's own below OUT)
TRAINED_ON   what a .pth was trained on, such as contiguous:{fold} (test.py --trained-on)
OUT          main.py's folder                           (outdir)
PYTHON       a file, or a command with its flags, that runs test.py (python)

Each is set as an argument or as a variable of the environment. Flags after -- go to test.py.
TEXT
}

MORE_NAMES="PROTOCOL CHECKPOINT TRAINED_ON"
. "$(dirname -- "$0")/setting.sh"
PROTOCOL=${PROTOCOL:-ssp}

evaluate() {
    local checkpoint=()
    [ -z "${CHECKPOINT:-}" ] || checkpoint=(--checkpoint "${CHECKPOINT//\{fold\}/$1}")
    [ -z "${TRAINED_ON:-}" ] || checkpoint+=(--trained-on "${TRAINED_ON//\{fold\}/$1}")
    echo "== testing${1:+, fold $1}, protocol $PROTOCOL =="
    "${python[@]}" "$HERE/test.py" "${flags[@]}" ${1:+--fold "$1"} --protocol "$PROTOCOL" \
        --results "${OUT:-outdir}/results" ${checkpoint[@]+"${checkpoint[@]}"} ${more[@]+"${more[@]}"}
}

for_each_fold evaluate
