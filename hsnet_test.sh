#!/usr/bin/env bash
# Test the checkpoints of all folds in HSNet's protocol: test.sh, which see.
exec "$(dirname -- "$0")/test.sh" PROTOCOL=hsnet "$@"
