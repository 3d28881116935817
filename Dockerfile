# Four images from one file: docker build --target proxy (or scaler, worker, batch) .
#
# Each holds a binary, the shared objects that it loads and certificate authorities, and nothing
# else: no shell, no package manager. They run as 65532:65532 and on a read-only file system.
#
# BINARIES names the stage that the binaries come from:
#   build   compiles them here, in TOOLCHAIN; the default, and what most people want
#   host    takes what `make roots` laid out of this machine's own binaries
# The project's CI has no registry to pull TOOLCHAIN from, so it proves `host` alone.
#
# The builder has to leave out stages that are not used: BuildKit, the default since Docker 23, with
# DOCKER_BUILDKIT=1 before that. Nothing else here needs BuildKit.
ARG BINARIES=build
ARG TOOLCHAIN=rust:1.95-bookworm

FROM scratch AS host
COPY target/roots /roots

FROM ${TOOLCHAIN} AS build
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates cmake
WORKDIR /source
COPY . .
RUN cargo build --locked --profile dist --bin tidegate-proxy --bin tidegate-scaler --bin tidegate-backtest --bin tidegate-worker --bin tidegate-batch \
    && make roots BIN=target/dist ROOTS=/roots

FROM ${BINARIES} AS binaries

# Clients on 8080; the scaler and the workers on 9090, which is never for clients.
FROM scratch AS proxy
COPY --from=binaries /roots/proxy /
USER 65532:65532
EXPOSE 8080 9090
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s CMD ["/usr/bin/tidegate-proxy", "probe"]
ENTRYPOINT ["/usr/bin/tidegate-proxy"]
CMD ["--config", "/etc/tidegate/proxy.toml", "--listen", "0.0.0.0:8080", "--admin", "0.0.0.0:9090"]

# With tidegate-backtest beside it, so that `backtest`, `tune` and `replay` work in the image.
# Health and metrics on 9091, of its own loopback unless the policy says otherwise.
FROM scratch AS scaler
COPY --from=binaries /roots/scaler /
# A volume that is mounted here belongs to the user as well.
COPY --from=binaries --chown=65532:65532 /roots/ledger /var/lib/tidegate
USER 65532:65532
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s CMD ["/usr/bin/tidegate-scaler", "probe"]
ENTRYPOINT ["/usr/bin/tidegate-scaler"]
CMD ["run", "--policy", "/etc/tidegate/policy.toml"]

# `docker run IMAGE serve`, as SageMaker starts a container: port 8080, the model at /opt/ml/model.
FROM scratch AS worker
COPY --from=binaries /roots/worker /
ENV TIDEGATE_LISTEN=0.0.0.0:8080 TIDEGATE_MODEL=/opt/ml/model
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s CMD ["/usr/bin/tidegate-worker", "probe"]
ENTRYPOINT ["/usr/bin/tidegate-worker"]
CMD ["serve"]

# Files and batches on 8081, for the proxy's `batch.url`; `--proxy URL` says where it asks. Mount a
# volume at /var/lib/tidegate, or what it keeps goes with the container.
FROM scratch AS batch
COPY --from=binaries /roots/batch /
COPY --from=binaries --chown=65532:65532 /roots/ledger /var/lib/tidegate
USER 65532:65532
EXPOSE 8081
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s CMD ["/usr/bin/tidegate-batch", "probe"]
ENTRYPOINT ["/usr/bin/tidegate-batch"]
CMD ["serve", "--config", "/etc/tidegate/batch.toml", "--listen", "0.0.0.0:8081"]
