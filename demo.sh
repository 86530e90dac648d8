#!/usr/bin/env bash
# Runs a street on this computer and shows the neutral current fall.
#   ./demo.sh            the live picture; Ctrl-C ends it
#   ./demo.sh --uplink   also HQ: a broker on loopback, and what a subscriber hears there
#   ./demo.sh hq         HQ whole: database, broker, portal, 500 transformers, three streets
#   ./demo.sh --help     what else it can do
set -euo pipefail
root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
if [ "${1:-}" = hq ]; then
    "$root/tools/bootstrap.sh" --debian mosquitto --debian postgresql sim hq
    exec "$root/.venv/bin/pbal" sim "$@"
fi
case " $* " in
    # Homes over LoRa: the controller's radio driver is the real one.
    *rural* | *campus* | *mixed* | *two-paths*) "$root/tools/bootstrap.sh" sim pi ;;
    *) "$root/tools/bootstrap.sh" sim ;;
esac
exec "$root/.venv/bin/pbal" sim run "$@"
