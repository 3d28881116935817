#!/usr/bin/env bash
# The status page's tests in Debian's Chromium; TIDEGATE_BIN is where the binaries are. Where the browser
# or Node.js is missing they are left out with a word, unless YES=1 allows to install them.
set -euo pipefail
cd "$(dirname "$0")"

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
if [ ${#missing[@]} -gt 0 ]; then
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    install="$sudo apt-get install --yes --no-install-recommends ${missing[*]}"
    if [ "${YES:-}" != 1 ]; then
        echo "the status page is NOT tested: ${missing[*]} missing; $install, or make again with YES=1"
        exit 0
    fi
    $sudo apt-get update --quiet
    $install
fi

if ! cmp --silent package-lock.json node_modules/.package-lock.installed; then
    npm ci --silent --ignore-scripts --no-audit --no-fund
    cp package-lock.json node_modules/.package-lock.installed
fi

CHROMIUM=$(command -v chromium)
export CHROMIUM
for file in *.test.mjs; do
    node --test "$file"
done
