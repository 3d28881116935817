#!/usr/bin/env bash
# engine.sh COMMAND...: runs a command with a container engine, and with docker-compose.
#
# An engine that answers is used as it is. Else one is started for the command alone, with all that
# it keeps in a directory of its own, and ended afterwards; that takes root.
set -euo pipefail

missing() {
    local packages=()
    command -v docker-compose >/dev/null || docker compose version >/dev/null 2>&1 || packages+=(docker-compose)
    command -v docker >/dev/null || packages+=(docker.io)
    docker info >/dev/null 2>&1 || command -v dockerd >/dev/null || packages+=(docker.io)
    docker info >/dev/null 2>&1 || command -v iptables >/dev/null || packages+=(iptables)
    # A client that cannot build by itself is not Debian's.
    docker buildx version >/dev/null 2>&1 || [ -x /usr/bin/docker ] || packages+=(docker.io)
    echo "${packages[*]-}"
}

# Installs what is missing, or says how to.
install() {
    local packages line
    packages=$(missing)
    [ -z "$packages" ] && return
    line="apt-get update && apt-get install --yes --no-install-recommends $packages"
    echo "missing: $packages"
    echo "  $line"
    if [ "$(id -u)" != 0 ]; then
        echo "run that line as root, or set TIDEGATE_NO_DOCKER=1 where CI is to go without"
        exit 1
    fi
    DEBIAN_FRONTEND=noninteractive sh -c "$line" >/dev/null
}

# Waits for the engine, for at most 60 s.
answers() {
    for _ in $(seq 120); do
        docker info >/dev/null 2>&1 && return
        kill -0 "$1" 2>/dev/null || return 1
        sleep 0.5
    done
    return 1
}

end() {
    # The engine ends its containers and its containerd.
    kill "$daemon" && wait "$daemon" || true
    # What a killed container left mounted would keep the directory.
    grep -o "$home[^ ]*" /proc/mounts | sort -r | xargs --no-run-if-empty umount || true
    rm -rf "$home"
}

install
if docker info >/dev/null 2>&1; then
    exec "$@"
fi
if [ "$(id -u)" != 0 ]; then
    echo "no container engine answers, and only root can start one"
    exit 1
fi

home=$(mktemp --directory "${TMPDIR:-/var/tmp}/tidegate-engine.XXXXXX")
export DOCKER_HOST="unix://$home/docker.sock"
dockerd --host "$DOCKER_HOST" --data-root "$home/data" --exec-root "$home/run" \
    --pidfile "$home/pid" >"$home/log" 2>&1 &
daemon=$!
trap end EXIT
if ! answers "$daemon"; then
    echo "dockerd does not start:"
    tail -n 20 "$home/log"
    exit 1
fi
"$@"
