#!/usr/bin/env bash
# `make install` leaves a whole installation below DESTDIR. $1 is where the binaries are.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$(mktemp --directory)
trap 'rm -rf "$root"' EXIT
make --no-print-directory install BIN="$1" DESTDIR="$root" PREFIX=/usr >/dev/null
cd "$root/usr"
for program in tidegate-proxy tidegate-scaler tidegate-backtest tidegate-worker tidegate-batch; do
    "bin/$program" --version >/dev/null
    bash -n "share/bash-completion/completions/$program"
    for file in "share/man/man1/$program.1" "share/zsh/site-functions/_$program" \
        "share/fish/vendor_completions.d/$program.fish"; do
        [ -s "$file" ] || { echo "make install: $file is missing"; exit 1; }
    done
done
for unit in lib/systemd/system/*.service; do
    started=$(sed --quiet 's/^ExecStart=\([^ ]*\).*/\1/p' "$unit")
    [ -x "$root$started" ] || { echo "$unit starts $started, which is not installed"; exit 1; }
done
# Where systemd is, it reads the units too.
if command -v systemd-analyze >/dev/null; then
    units=$(ls lib/systemd/system/*.service)
    mistakes=$(systemd-analyze verify --man=no $units 2>&1 | grep "$root\|tidegate-.*\.service" |
        grep --invert-match 'is not executable' || true)
    [ -z "$mistakes" ] || { echo "$mistakes"; exit 1; }
fi
