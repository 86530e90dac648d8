#!/usr/bin/env bash
# Puts the node's firmware on a board that is plugged in over USB.
#   ./flash.sh           finds the board, and asks what it must know
#   ./flash.sh --help    what else it can do
set -euo pipefail
root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
"$root/tools/bootstrap.sh" flash sim
exec "$root/.venv/bin/pbal" flash "$@"
