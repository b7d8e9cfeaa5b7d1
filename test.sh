#!/usr/bin/env bash
# Test the checkpoints of all folds of a setting: ./test.sh --help
exec "$(dirname -- "$0")/reproduce.sh" test.sh "$@"
