# What all.sh and test.sh share; sourced by them. NAME=VALUE arguments become variables, which may be set before as well;
# then flags holds those of the Python script, more what follows --, and for_each_fold runs what the caller defines.

HERE=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
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
more=("$@")

# What is not set is left to the Python script, or to the checkpoint.
flags=(--data-root "${DATA_ROOT:-../Datasets_SSP}" --out "${OUT:-outdir}")
[ -z "${DATASET:-}" ] || flags+=(--dataset "$DATASET")
[ -z "${BACKBONE:-}" ] || flags+=(--backbone "$BACKBONE")
[ -z "${SHOT:-}" ] || flags+=(--shot "$SHOT")
[ -z "${METHOD:-}" ] || flags+=(--method "$METHOD")
[ -z "${CLASS_ORDER:-}" ] || flags+=(--class-order "$CLASS_ORDER")
[ -z "${SPLITS:-}" ] || flags+=(--splits "$SPLITS")
case ${REFINE:-} in
    "") ;;
    0) flags+=(--no-refine) ;;
    1) flags+=(--refine) ;;
    *) fail "REFINE=$REFINE: must be 1 or 0" ;;
esac

if [ -z "${PYTHON:-}" ] && [ -z "${VIRTUAL_ENV:-}" ] && [ -x "$HERE/.venv/bin/python" ]; then
    PYTHON=$HERE/.venv/bin/python # what make demo installs, where no environment is active
fi
PYTHON=${PYTHON:-python}
if [ -x "$PYTHON" ]; then
    python=("$PYTHON")
else
    read -r -a python <<< "$PYTHON" # such as torchrun --nproc-per-node 4
fi

# for_each_fold COMMAND: COMMAND FOLD for each; once, without a fold, for fss.
for_each_fold() {
    if [ "${DATASET:-}" = fss ]; then
        "$1" ""
        return
    fi
    for fold in ${FOLDS:-0 1 2 3}; do
        "$1" "$fold"
    done
}
