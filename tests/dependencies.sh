#!/usr/bin/env bash
# Holds the promises of docs/ARCHITECTURE.md about who may depend on what.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0

# What a package is built from, itself left out.
crates_of() {
    cargo tree --locked --package "$1" --edges normal --prefix none --format '{lib}' |
        tail --lines +2 | sort --unique
}

# forbid PACKAGE PATTERN REASON
forbid() {
    local crates found
    crates=$(crates_of "$1")
    found=$(grep --extended-regexp "^($2)$" <<<"$crates" | paste --serial --delimiters ' ' || true)
    if [ -n "$found" ]; then
        echo "$1 must not depend on $found: $3"
        failed=1
    fi
}

runtime='tokio|hyper|axum|reqwest|rustix|mio|socket2'
for pure in tidegate-http1 tidegate-queue tidegate-control tidegate-protocol tidegate-gguf tidegate-generation tidegate-seq2seq; do
    forbid "$pure" "$runtime" "it is pure: no clock, no IO"
done
forbid tidegate-worker 'tidegate_(queue|control)' "it knows the protocol alone"
forbid tidegate-agent 'tidegate_(queue|control|kernels)|candle_.*' "it knows the protocol, and no model"
forbid tidegate-http 'tidegate_(agent|config|control|generation|gguf|kernels|policy|queue|seq2seq)' "it serves whatever routes it is given"
forbid tidegate-telemetry 'tidegate_.*|tonic|axum' "it knows OpenTelemetry and no daemon"
forbid tidegate-policy "$runtime" "it is read by the daemon and by the backtest"
forbid tidegate-backtest "$runtime|tidegate_scaler|aws_.*" "it reaches no proxy, fleet or clock"
forbid tidegate-scaler tidegate_backtest "the simulator is no part of the daemon"
forbid tidegate-proxy tidegate_control "the proxy measures, the scaler decides"
forbid tidegate-worker 'pingora_.*' "pingora is known to the proxy alone"
forbid tidegate-scaler 'pingora_.*|candle_.*' "pingora and candle are known to proxy and worker alone"
forbid tidegate-proxy 'candle_.*' "candle is known to the worker alone"
for daemon in tidegate-proxy tidegate-scaler tidegate-worker tidegate-batch; do
    forbid "$daemon" 'tidegate_(proxy|scaler|worker|batch)' "daemons meet as processes"
    forbid "$daemon" 'aws_lc_rs|aws_lc_sys|openssl|openssl_sys|native_tls' "one TLS provider: rustls with ring"
done

# The SDK of AWS changes often; what knows it is in one place.
elsewhere=$(grep --recursive --files-with-matches --extended-regexp 'aws_(sdk|config|smithy)' scaler/src |
    grep --invert-match '^scaler/src/aws/' || true)
if [ -n "$elsewhere" ]; then
    echo "the AWS SDK is known to scaler/src/aws alone, not to $elsewhere"
    failed=1
fi
forbid tidegate-proxy 'aws_.*' "the proxy calls nobody but workers"

exit $failed
