#!/usr/bin/env bash
# Builds the extensions with ASan and UBSan in a copy of the tree and runs the kernels' tests there.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z | xargs -0 cp --parents -t "$copy"
cd "$copy"
NPUD_SANITIZE=address,undefined "$BIN/python" setup.py -q build_ext --inplace
preload=$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libubsan.so)
# Python itself leaks on purpose at its end; every other report is an error.
LD_PRELOAD=$preload ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
  PYTHONMALLOC=malloc PYTHONPATH=$copy "$BIN/python" -m pytest --numprocesses 2 -p no:cacheprovider tests/postprocess tests/pixels "$@"
