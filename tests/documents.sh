#!/usr/bin/env bash
# The documents point at what is there: each proof of docs/promises.md, and each link between files.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0

missing() {
    echo "$1 names $2, which is not there"
    failed=1
}

# The last column; paths are the repository's or those of tests/.
while read -r proof; do
    [ -e "$proof" ] || [ -e "tests/$proof" ] || missing docs/promises.md "$proof"
done < <(grep '^|' docs/promises.md | sed 's/ *|$//; s/.*| //' |
    grep --only-matching '`[^`]*`' | tr --delete '`' | grep / | sort --unique)

while read -r page; do
    while read -r link; do
        [ -e "$(dirname "$page")/$link" ] || missing "$page" "$link"
    done < <(grep --only-matching --perl-regexp '\]\(\K[^)#:]+(?=(#[^)]*)?\))' "$page" | sort --unique)
done < <(git ls-files '*.md' | grep --invert-match '^tests/traces/')

exit $failed
