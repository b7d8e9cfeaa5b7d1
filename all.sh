#!/usr/bin/env bash
# Train all folds of a setting: ./all.sh --help
exec "$(dirname -- "$0")/reproduce.sh" all.sh "$@"
