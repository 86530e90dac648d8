#!/usr/bin/env bash
# Makes .venv and installs pbal into it. A second run with nothing changed costs milliseconds.
#
#   tools/bootstrap.sh [--system] [--debian PACKAGE]... [EXTRA...]
#
# EXTRA     optional extras of pyproject.toml to install (default: sim)
# --system  also Debian packages that the tests use (mbpoll, libmodbus, tshark, ...), where root or
#           a passwordless sudo is at hand; elsewhere it says which tests will skip.
# --debian  only this one of them
#
# PBAL_PYTHON=/path/to/python3   which interpreter to build on (3.11 or newer)
# PBAL_NO_APT=1                  never touch Debian packages
set -euo pipefail

root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)
cd "$root"
venv=.venv
stamp=$venv/.pbal-stamp
apt_stamp=$venv/.pbal-apt-tried

trap 'exit 130' INT

say() { printf 'bootstrap: %s\n' "$*" >&2; }
die() { say "$1"; shift; for line in "$@"; do printf '           %s\n' "$line" >&2; done; exit 4; }

system=no
extras=()
only=()
while [ $# -gt 0 ]; do
    arg=$1
    shift
    case $arg in
        --system) system=yes ;;
        --debian)
            [ $# -gt 0 ] || die "--debian needs the name of a package"
            system=yes
            only+=("$1")
            shift
            ;;
        -*) die "unknown option $arg" "Usage: tools/bootstrap.sh [--system] [--debian PACKAGE]... [EXTRA...]" ;;
        *) extras+=("$arg") ;;
    esac
done
[ ${#extras[@]} -gt 0 ] || extras=(sim)

# --- Debian packages ------------------------------------------------------------------------

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n -- "$@"; fi
}

can_apt() {
    [ "${PBAL_NO_APT:-}" != 1 ] && command -v apt-get >/dev/null || return 1
    [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }
}

# apt_install PACKAGE...: quiet, asks nothing (tshark would ask who may capture).
apt_install() {
    local log
    log=$(mktemp)
    say "installing Debian packages: $*"
    if {
        if command -v debconf-set-selections >/dev/null; then
            echo 'wireshark-common wireshark-common/install-setuid boolean false' |
                as_root debconf-set-selections
        fi
        as_root apt-get -qq -o DPkg::Lock::Timeout=120 update &&
            as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
                -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 install "$@"
    } >"$log" 2>&1 </dev/null; then
        rm -f "$log"
        return 0
    fi
    say "apt-get failed:"
    tail -n 5 "$log" >&2
    rm -f "$log"
    return 1
}

# What the tests call, as "program-or-file package what-is-tested-with-it".
SYSTEM_TOOLS=(
    "mbpoll mbpoll stock Modbus tools"
    "/usr/include/modbus/modbus.h libmodbus-dev stock Modbus tools"
    "tshark tshark the Wireshark dissector"
    "socat socat serial links between programs"
    "tmux tmux the live views"
    "chromium chromium the pages"
    "faketime faketime steps of the controller's clock"
    "/usr/sbin/mosquitto mosquitto the uplink's broker"
    "/usr/lib/postgresql postgresql HQ's database"
    "/usr/sbin/pgbouncer pgbouncer HQ's store on TimescaleDB"
    "debootstrap debootstrap the Debian package"
    "patroni patroni a database that outlives a machine"
    "etcd etcd-server a database that outlives a machine"
    "/usr/lib/python3/dist-packages/idna python3-idna a database that outlives a machine"
    "pgbackrest pgbackrest backups of the database"
    "cryptsetup cryptsetup-bin an encrypted disk under the database"
    "haproxy haproxy the portal behind a load balancer"
    "aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu the package for another architecture"
    "/usr/aarch64-linux-gnu/include/stdio.h libc6-dev-arm64-cross the package for another architecture"
    "qemu-aarch64-static qemu-user-static the package for another architecture"
    "java openjdk-17-jre-headless the large HQ's engines"
    "mvn maven the large HQ's engines"
    "/usr/share/doc/rsyslog-elasticsearch rsyslog-elasticsearch logs in OpenSearch"
    "/usr/share/doc/rsyslog-relp rsyslog-relp logs in OpenSearch"
    "/lib/systemd/systemd-journal-remote systemd-journal-remote logs from the journal"
    "prometheus prometheus metrics and alert rules"
    "prometheus-alertmanager prometheus-alertmanager alerts"
    "prometheus-node-exporter prometheus-node-exporter metrics of a machine"
    "prometheus-postgres-exporter prometheus-postgres-exporter metrics of PostgreSQL"
    "wg wireguard-tools tunnels to sites"
    "wireguard-go wireguard-go tunnels to sites"
    "nft nftables tunnels to sites"
    "ip iproute2 tunnels to sites"
)

if [ ${#only[@]} -gt 0 ]; then
    wanted_rows=()
    for row in "${SYSTEM_TOOLS[@]}"; do
        read -r _ package _ <<<"$row"
        for name in "${only[@]}"; do
            if [ "$package" = "$name" ]; then wanted_rows+=("$row"); fi
        done
    done
    SYSTEM_TOOLS=("${wanted_rows[@]}")
fi

present() {
    case $1 in
        /*) [ -e "$1" ] ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

missing_packages() {
    local row probe package
    for row in "${SYSTEM_TOOLS[@]}"; do
        read -r probe package _ <<<"$row"
        present "$probe" || echo "$package"
    done
}

system_packages() {
    local wanted row probe package purpose
    mapfile -t wanted < <(missing_packages)
    [ ${#wanted[@]} -gt 0 ] || return 0
    # What failed once (no network) is tried again only when something changes, or in CI.
    if can_apt && { [ "${CI:-}" = true ] || [ "$(cat "$apt_stamp" 2>/dev/null)" != "${wanted[*]}" ]; }; then
        apt_install "${wanted[@]}" || true
        echo "${wanted[*]}" >"$apt_stamp"
    fi
    for row in "${SYSTEM_TOOLS[@]}"; do
        read -r probe package purpose <<<"$row"
        present "$probe" || say "no Debian package $package here: tests of $purpose will skip"
    done
}

# --- the interpreter ------------------------------------------------------------------------

suits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local candidate
    if [ -n "${PBAL_PYTHON:-}" ]; then
        suits "$PBAL_PYTHON" || die "PBAL_PYTHON=$PBAL_PYTHON is not a Python 3.11 or newer."
        echo "$PBAL_PYTHON"
        return
    fi
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && suits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    die "pbal needs Python 3.11 or newer, and none was found." \
        "Debian 12 or Ubuntu 24.04:  sudo apt install python3 python3-venv python3-dev gcc" \
        "Or name one:  PBAL_PYTHON=/path/to/python3 $0"
}

make_venv() {
    local python=$1
    local short
    short=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        if ! { can_apt && apt_install "$short-venv"; } || ! "$python" -c 'import ensurepip' 2>/dev/null; then
            die "this Python cannot make virtual environments." \
                "Debian and Ubuntu:  sudo apt install $short-venv"
        fi
    fi
    say "making $venv with $("$python" -V)"
    "$python" -m venv --clear "$venv"
}

# The balancing core is compiled during the installation.
need_compiler() {
    local python=$1 header
    header=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
    if command -v "${CC:-cc}" >/dev/null && [ -e "$header" ]; then return; fi
    if can_apt && apt_install gcc libc6-dev python3-dev; then
        [ ! -e "$header" ] || return 0
    fi
    die "a C compiler and the Python headers are needed to build the balancing core." \
        "Debian and Ubuntu:  sudo apt install gcc libc6-dev python3-dev"
}

# --- the installation -----------------------------------------------------------------------

# pip_install ARGUMENT...: speaks only when it fails. Most of what is installed is never imported:
# what is, Python compiles when it is.
pip_install() {
    local log
    log=$(mktemp)
    if "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
        --no-deps "$@" >"$log" 2>&1; then
        rm -f "$log"
        return 0
    fi
    tail -n 30 "$log" >&2
    rm -f "$log"
    return 1
}

# locked GROUP...: the lock file's entries of these groups, as a file for pip; prints its path.
# pip takes nothing whose hash is not in it.
locked() {
    local list=$venv/.pbal-locked
    "$venv/bin/python" tools/lock.py select "$@" >"$list" || return 1
    echo "$list"
}

# What compiles comes first and is used for what follows: a build of its own kind would download
# its tools without looking at their hashes.
install_locked() {
    local list
    list=$(locked build) && pip_install --require-hashes -r "$list" &&
        list=$(locked build core "$@") &&
        pip_install --require-hashes --no-build-isolation -r "$list" &&
        pip_install --no-build-isolation --editable .
}

# Whatever changes what would be installed or compiled.
fingerprint() {
    {
        echo "$root"
        cat pyproject.toml requirements.lock setup.py
        find pi_controller tools -name '*.pyx' -o -name '*.px[di]' -o -name '*.h' | LC_ALL=C sort |
            while IFS= read -r file; do echo "$file"; cat "$file"; done
    } | sha256sum | cut -d' ' -f1
}

# with_brought EXTRA...: these, and what each of them brings along, as `dev` does; one a line.
with_brought() {
    local extra
    for extra in "$@"; do
        echo "$extra"
        sed -n "/^$extra = \[\$/,/^]/ s/^ *\"pbal\[\(.*\)\]\".*/\1/p" pyproject.toml | tr , '\n'
    done
}

up_to_date() {
    [ -x "$venv/bin/python" ] && [ -f "$stamp" ] || return 1
    local hash have extra
    { read -r hash; read -r have; } <"$stamp" || return 1
    [ "$hash" = "$print" ] || return 1
    # shellcheck disable=SC2086  # a list of words
    have=$(with_brought ${have//,/ } | paste -sd,)
    for extra in "${extras[@]}"; do
        case ",$have," in *",$extra,"*) ;; *) return 1 ;; esac
    done
}

# What was asked for now and before: an installation never loses an extra.
wanted_extras() {
    local have=""
    [ ! -f "$stamp" ] || have=$(sed -n 2p "$stamp")
    printf '%s\n' ${have//,/ } "${extras[@]}" | LC_ALL=C sort -u | paste -sd,
}

# A venv that was moved or lost its interpreter is made again.
venv_is_ours() {
    [ -x "$venv/bin/python" ] && [ -f "$venv/pyvenv.cfg" ] &&
        "$venv/bin/python" -c 'import pip' 2>/dev/null &&
        { [ ! -f "$venv/.pbal-root" ] || [ "$(cat "$venv/.pbal-root")" = "$root" ]; }
}

install() {
    if ! venv_is_ours; then
        make_venv "$(find_python)"
    fi
    suits "$venv/bin/python" || die "$venv holds an old Python." "Remove it:  rm -r $root/$venv"
    need_compiler "$venv/bin/python"
    local all
    all=$(wanted_extras)
    rm -f "$stamp"
    say "installing pbal[$all] (the first time takes a minute or two)"
    # shellcheck disable=SC2086  # a list of words
    install_locked ${all//,/ } ||
        die "the installation failed; the words above say why." \
            "It needs the Python package index once. Run it again when the network is there." \
            "Where a hash does not match, the file is not the one that was tested: do not use it."
    # Stubs of the ESP32 port, in a folder of their own: they shadow CPython's library.
    case ",$all," in *,dev,*)
        pip_install --require-hashes --upgrade --target "$venv/esp32-stubs" -r "$(locked stubs)" ||
            say "no ESP32 type stubs: the firmware's type check will skip" ;;
    esac
    echo "$root" >"$venv/.pbal-root"
    printf '%s\n%s\n' "$print" "$all" >"$stamp.new"
    mv "$stamp.new" "$stamp"
}

main() {
    print=$(fingerprint)
    if ! up_to_date; then
        exec 9>.bootstrap.lock
        if command -v flock >/dev/null && ! flock -n 9; then
            say "waiting for another installation in this folder"
            flock 9
        fi
        up_to_date || install
        exec 9>&-
    fi
    [ "$system" = no ] || system_packages
}

# In one piece, so that an update of this file during a run does not change the run.
main; exit
