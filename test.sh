#!/usr/bin/env bash
# Test the checkpoints of all folds of a setting.

usage() {
    cat <<'TEXT'
Test the checkpoints of all folds of a setting and write the results to OUT/results, for report.py. A result that is newer
than its checkpoint is not computed again; the first failure stops it.

    ./test.sh DATASET=pascal DATA_ROOT=../Datasets_SSP BACKBONE=resnet50 SHOT=1
    ./test.sh CHECKPOINT='authors/fold{fold}_r50.pth' REFINE=1
    ./hsnet_test.sh DATASET=coco SPLITS=../hsnet/data/splits     the same as ./test.sh PROTOCOL=hsnet ...

DATASET      pascal, coco or fss, which has no folds    (pascal)
DATA_ROOT    the dataset's folder, or the one above     (../Datasets_SSP)
BACKBONE     resnet50 or resnet101                      (resnet50)
SHOT         supports of an episode                     (1)
METHOD       ssp or baseline                            (ssp)
REFINE       1 or 0: the self-support refinement        (what the checkpoint says; in HSNet's protocol 0)
CLASS_ORDER  of coco: contiguous or interleaved         (in HSNet's protocol interleaved)
SPLITS       HSNet's data/splits, for its protocol, and for fss without lists
FOLDS                                                   ("0 1 2 3")
PROTOCOL     ssp, the paper's own, or hsnet             (ssp)
CHECKPOINT   a file, or a folder that holds one checkpoint, with {fold} in place of the number
                                                        (the run's own below OUT)
OUT          main.py's folder                           (outdir)
PYTHON       what runs test.py                          (python)

Each is set as an argument or as a variable of the environment. Flags after -- go to test.py; results with other flags
have files of their own.
TEXT
}

MORE_NAMES="PROTOCOL CHECKPOINT"
. "$(dirname "$0")/setting.sh"
PROTOCOL=${PROTOCOL:-ssp} CHECKPOINT=${CHECKPOINT:-}
if [ "$PROTOCOL" = hsnet ] && [ "$DATASET" = coco ] && [ -z "$CLASS_ORDER" ]; then
    CLASS_ORDER=interleaved
    flags+=(--class-order interleaved)
fi
case $REFINE in 0) flags+=(--no-refine) ;; 1) flags+=(--refine) ;; esac

evaluate() {
    local fold=$1 name="$DATASET${CLASS_ORDER:+_$CLASS_ORDER}${1:+_fold_$1}_${METHOD}_${BACKBONE}_${SHOT}shot"
    local known checkpoint=() models="$OUT/models/$DATASET"
    [ "$CLASS_ORDER" != interleaved ] || models+=_interleaved
    models+=${fold:+/fold_$fold}
    if [ -n "$CHECKPOINT" ]; then
        models=${CHECKPOINT//\{fold\}/$fold}
        checkpoint=(--checkpoint "$models")
    fi
    known="$CHECKPOINT $REFINE ${more[*]+"${more[*]}"}" # what else the result depends on
    [ "$known" = "  " ] || name+=_$(printf %s "$known" | cksum | cut -d " " -f 1)
    local json="$OUT/results/${name}_$PROTOCOL.json"
    echo "== test $DATASET${fold:+ fold $fold}, $METHOD $BACKBONE, $SHOT-shot, protocol $PROTOCOL =="
    if [ -f "$json" ] && [ -z "$(find "$models" \( -name "*.ckpt" -o -name "*.pth" \) -newer "$json")" ]; then
        echo "finished before: $json"
        return
    fi
    $PYTHON "$HERE/test.py" "${flags[@]}" ${fold:+--fold "$fold"} --protocol "$PROTOCOL" --json "$json" \
        ${checkpoint[@]+"${checkpoint[@]}"} ${more[@]+"${more[@]}"}
}

for_each_fold evaluate
