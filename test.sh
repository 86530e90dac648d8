#!/usr/bin/env bash
# Style, types, room boundaries and tests. Arguments go to pytest, with paths relative to this
# folder:  ./test.sh tests/cli -k help
#   CI=true ./test.sh      a missing tool fails its tests instead of skipping them
#   PBAL_WORKERS=0 ./test.sh   in one process, one test after the other
set -uo pipefail
root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
"$root/tools/bootstrap.sh" --system dev bench || exit
cd "$root" || exit
bin=.venv/bin

names=()
results=()
failed=0

# step NAME COMMAND...: runs a check, remembers how it ended and how long it took.
step() {
    local name=$1 start=$SECONDS status
    shift
    printf '\n== %s\n' "$name"
    "$@"
    status=$?
    names+=("$name")
    if [ $status = 0 ]; then
        results+=("ok      $((SECONDS - start)) s")
    else
        results+=("FAILED  $((SECONDS - start)) s")
        failed=1
    fi
}

step "style (ruff check)" "$bin/ruff" check .
step "format (ruff format)" "$bin/ruff" format --check --output-format concise .
step "types (mypy)" "$bin/mypy"
step "rooms (import-linter)" "$bin/lint-imports"
# Most tests wait for real time to pass (boots, dwell times, a slow board), so more of them fit on
# the processors than there are processors. A file's tests stay together: they share a street.
step "tests (pytest)" "$bin/python" -m pytest -n "${PBAL_WORKERS:-3}" --dist loadfile "$@"

printf '\n== summary\n'
for i in "${!names[@]}"; do
    printf '  %-24s %s\n' "${names[$i]}" "${results[$i]}"
done
exit $failed
