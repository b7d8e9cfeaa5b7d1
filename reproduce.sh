#!/usr/bin/env bash
# Measure the published tables: ./reproduce.sh --help. all.sh and test.sh come here too, with their name in front.
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
case ${1:-} in *.sh) ;; *) set -- reproduce.sh "$@" ;; esac

# The Python of reproduce.py: the one in PYTHON, which may be torchrun or others for the programs that it runs.
python=python
[ -n "${VIRTUAL_ENV:-}" ] || [ ! -x "$here/.venv/bin/python" ] || python=$here/.venv/bin/python # from make demo
for word; do case $word in PYTHON=*) PYTHON=${word#*=} ;; --) break ;; esac done
if [ -x "${PYTHON:-}" ]; then words=("$PYTHON"); else read -r -a words <<< "${PYTHON:-}"; fi
for word in ${words[@]+"${words[@]}"}; do case ${word##*/} in python*) python=$word ;; esac done
exec "$python" "$here/reproduce.py" "$@"
