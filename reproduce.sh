#!/usr/bin/env bash
# Measure the published tables.
set -euo pipefail

usage() {
    cat << 'TEXT'
Measure the published tables with the authors' weights: fetch what is missing, look at each dataset once, test each fold as
it was published, and print paper, measured, difference, spread and a verdict for each cell. What is finished is skipped;
what fails is named at the end, with exit code 1, and does not stop the others.

    ./reproduce.sh DATA_ROOT=../Datasets_SSP SPLITS=../hsnet/data/splits
    ./reproduce.sh DATA_ROOT=../Datasets_SSP DATASET=pascal BACKBONE=resnet50 SHOT=1
    PYTHON="torchrun --nproc-per-node 4" ./reproduce.sh DATA_ROOT=../Datasets_SSP DATASET=pascal

DATA_ROOT    the folder that holds the datasets         (../Datasets_SSP)
DATASET      pascal, coco or fss                        (those that are there)
BACKBONE     resnet50 or resnet101                      (both)
SHOT         1 or 5                                     (both)
METHOD       ssp or baseline                            (both)
FOLDS                                                   ("0 1 2 3")
PROTOCOL     ssp, the paper's own, or hsnet             (both)
SPLITS       HSNet's data/splits, for rows in its protocol
AUTHORS      folder of the authors' weights             (pretrained/authors)
MIRROR       fetch them from MIRROR/NAME                (Google Drive)
TRAIN        1: train every row instead, as the authors did
VERIFY       0: do not open every file of a dataset first
OUT          folder for everything written              (outdir)
PYTHON       a file, or a command with its flags, that runs test.py and main.py (python)

Each is set as an argument or as a variable of the environment. Flags after -- go to test.py, with TRAIN=1 to main.py.
TEXT
}

MORE_NAMES="PROTOCOL AUTHORS MIRROR TRAIN VERIFY"
. "$(dirname -- "$0")/setting.sh"
[ -z "${FOLDS:-}" ] || flags+=(--folds $FOLDS)
[ -z "${PROTOCOL:-}" ] || flags+=(--protocol "$PROTOCOL")
[ -z "${AUTHORS:-}" ] || flags+=(--authors "$AUTHORS")
[ -z "${MIRROR:-}" ] || flags+=(--mirror "$MIRROR")
[ "${TRAIN:-0}" = 0 ] || flags+=(--train)
[ "${VERIFY:-1}" != 0 ] || flags+=(--no-verify)
case $PYTHON in
    *torchrun* | *torch.distributed*) driver=(python) ;; # several processes are for test.py and main.py
    *) driver=("${python[@]}") ;;
esac
exec "${driver[@]}" "$HERE/reproduce.py" "${flags[@]}" --python "$PYTHON" -- ${more[@]+"${more[@]}"}
