#!/usr/bin/env bash
# Style, types, room boundaries and tests. Arguments go to pytest, with paths relative to this
# folder:  ./test.sh tests/cli -k help
#   CI=true ./test.sh      a missing tool fails its tests instead of skipping them
#   PBAL_LONG=1 ./test.sh  also the tests that take long, which CI=true runs, too
#   ./test.sh --engines    only what needs the real engines of a large HQ, which CI=true runs, too: it
#                          fetches them (Maven, Java 17; pip)
#   PBAL_WORKERS=0 ./test.sh   in one process, one test after the other
set -uo pipefail
root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
engines=${CI:-false}
only_engines=no
if [ "${1:-}" = --engines ]; then
    shift
    engines=true
    only_engines=yes
fi
"$root/tools/bootstrap.sh" --system dev bench || exit
cd "$root" || exit
bin=.venv/bin
# The tests start a thousand Pythons. Where none may write beside the source what it compiled, each would
# compile all that it imports.
if [ -n "${PYTHONDONTWRITEBYTECODE:-}" ]; then
    unset PYTHONDONTWRITEBYTECODE
    export PYTHONPYCACHEPREFIX=$root/.venv/pycache
fi

names=()
results=()
failed=0
# tests/conftest.py writes there which tests got a second try.
PBAL_SECOND_TRIES=$(mktemp)
export PBAL_SECOND_TRIES
trap 'rm -f "$PBAL_SECOND_TRIES"' EXIT

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

if [ $only_engines = no ]; then
    step "style (ruff check)" "$bin/ruff" check .
    step "format (ruff format)" "$bin/ruff" format --check --output-format concise .
fi
types_and_rooms() {
    step "types (mypy)" "$bin/mypy"
    step "rooms (import-linter)" "$bin/lint-imports"
}
# A test that another program kept from running in time gets a second try. pytest says why the first
# try failed, and the last lines of all name the test. What fails twice has failed.
once_more=(--reruns 1 --rerun-show-tracebacks)
# A file's tests stay together: they share what they start. Most wait for a port or another process, so
# there are more workers than processors.
pytest_side_by_side=("$bin/python" -m pytest -n "${PBAL_WORKERS:-5}" --dist loadfile)

# Nodes and streets run the firmware in real time, one after the other.
in_real_time() { "$bin/python" -m pytest "${once_more[@]}" --durations 30 --durations-min 5 "$@"; }

# What only computes takes the processors while nothing in real time wants them.
step_behind() { chrt --idle --pid 0 $BASHPID 2>/dev/null || renice -n 19 $BASHPID >/dev/null; }

# Engines are large: one after the other, and no longer than this in all, four minutes for each of Kafka, HDFS,
# Storm, Druid, Superset, OpenSearch and the database's cluster, and two for the bench of all roles.
engines_within=1800
with_engines() {
    PBAL_ENGINE_TESTS=1 timeout --kill-after 30 $engines_within \
        "$bin/python" -m pytest "${once_more[@]}" --durations 30 --durations-min 5 "$@"
}

if [ $only_engines = yes ]; then
    step "engines" with_engines "${@:-tests/engines}"
elif [ $# -gt 0 ]; then
    types_and_rooms
    step "tests (pytest)" "${pytest_side_by_side[@]}" "$@"
else
    said=$(mktemp)
    # Of the node's own tests these alone wait in real time; the others have a clock of their own.
    node_in_real_time=tests/unit/node/test_in_real_time.py
    gaps=(tests/contract tests/unit tests/cli tests/package --ignore "$node_in_real_time")
    (
        step_behind
        # In a new environment one process compiles what all import: side by side, each would do it.
        if [ ! .venv/.pbal-compiled -nt .venv/.pbal-stamp ]; then
            "$bin/python" -m pytest -n 0 --collect-only -qq "${gaps[@]}" && touch .venv/.pbal-compiled
        fi >/dev/null 2>&1
        exec "${pytest_side_by_side[@]}" "${once_more[@]}" --timeout 600 --durations 30 \
            --durations-min 5 "${gaps[@]}"
    ) >"$said" 2>&1 </dev/null &
    beside=$!
    # What engines are made of is fetched meanwhile. Where that fails, the tests say why.
    fetching=
    if [ "$engines" = true ]; then
        (
            step_behind
            exec "$bin/python" -m pbal_engines.fetch
        ) >/dev/null 2>&1 </dev/null &
        fetching=$!
    fi
    trap 'kill $beside $fetching 2>/dev/null; rm -f "$said" "$PBAL_SECOND_TRIES"' EXIT
    the_others() {
        wait "$beside"
        local status=$?
        cat "$said"
        return $status
    }
    types_and_rooms
    step "stock tools" in_real_time tests/twin/test_tools_and_ends.py
    step "tests in real time" in_real_time "$node_in_real_time" tests/twin tests/faults \
        --ignore tests/twin/test_tools_and_ends.py
    # Engines wait much, and what only computes goes on beside them.
    if [ "$engines" = true ]; then
        step "engines" with_engines tests/engines
    fi
    step "tests in their gaps" the_others
fi

printf '\n== summary\n'
if [ $only_engines = no ] && [ $# = 0 ] && [ "${CI:-}" != true ] && [ "${CI:-}" != 1 ]; then
    case ${PBAL_LONG:-0} in
        0)
            echo "  left out: tests that take long (above: SKIPPED ... takes long), four fifths of the random"
            echo "            campaigns and of the removals of rules, three fifths of the crash loops;"
            echo "            PBAL_LONG=1 ./test.sh runs them, too"
            ;;
    esac
    echo "  left out: the real engines of a large HQ (Kafka ...); ./test.sh --engines runs them"
fi
for i in "${!names[@]}"; do
    printf '  %-24s %s\n' "${names[$i]}" "${results[$i]}"
done
sort -u "$PBAL_SECOND_TRIES" | sed 's/^/  second try: /'
exit $failed
