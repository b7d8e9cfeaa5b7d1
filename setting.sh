# What all.sh and test.sh share; sourced by them. NAME=VALUE arguments become variables, which may be set before as well;
# then flags holds what every script is given, and for_each_fold runs the one that the caller defines.

set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
NAMES="DATASET DATA_ROOT BACKBONE SHOT REFINE METHOD CLASS_ORDER SPLITS FOLDS OUT PYTHON $MORE_NAMES"

fail() {
    echo "error: $1" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
        -h | --help)
            usage
            exit 0
            ;;
        --)
            shift
            break
            ;;
        [A-Z]*=*)
            name=${1%%=*}
            case " $NAMES " in
                *" $name "*) printf -v "$name" %s "${1#*=}" ;;
                *) fail "$name: no such setting; there are $NAMES" ;;
            esac
            shift
            ;;
        *) fail "$1: settings are NAME=VALUE, and flags of the Python script come after --; see $0 --help" ;;
    esac
done
more=("$@") # flags of the Python script

DATASET=${DATASET:-pascal} DATA_ROOT=${DATA_ROOT:-../Datasets_SSP} BACKBONE=${BACKBONE:-resnet50} SHOT=${SHOT:-1}
METHOD=${METHOD:-ssp} CLASS_ORDER=${CLASS_ORDER:-} SPLITS=${SPLITS:-} FOLDS=${FOLDS:-0 1 2 3} OUT=${OUT:-outdir}
REFINE=${REFINE:-} PYTHON=${PYTHON:-python}
case $REFINE in "" | 0 | 1) ;; *) fail "REFINE=$REFINE: must be 1 or 0" ;; esac

flags=(--dataset "$DATASET" --data-root "$DATA_ROOT" --backbone "$BACKBONE" --shot "$SHOT" --method "$METHOD" --out "$OUT")
[ -z "$CLASS_ORDER" ] || flags+=(--class-order "$CLASS_ORDER")
[ -z "$SPLITS" ] || flags+=(--splits "$SPLITS")

# for_each_fold COMMAND: COMMAND FOLD for each; once, without a fold, for fss.
for_each_fold() {
    if [ "$DATASET" = fss ]; then
        "$1" ""
        return
    fi
    for fold in $FOLDS; do
        "$1" "$fold"
    done
}
