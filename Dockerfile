# syntax=docker/dockerfile:1

# What ships is made here and copied out: no base image is under it. The builder is named by its
# tag, which gets Debian's fixes; to build with the very image that a release was built with, name
# its digest: --build-arg BUILDER=docker.io/library/rust@sha256:…
ARG BUILDER=docker.io/library/rust:1.95-bookworm

# The builder runs on the machine's own architecture and compiles for the
# target's, which takes minutes where emulation takes an hour.
FROM --platform=$BUILDPLATFORM $BUILDER AS build
ARG TARGETARCH
WORKDIR /src
# For the C code of ring and jemalloc: zig compiles and links for every target, and brings their libc.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/zig \
 && /opt/zig/bin/pip install --no-cache-dir ziglang==0.13.0.post1 cargo-zigbuild==0.24.1
RUN case "$TARGETARCH" in \
      amd64) echo x86_64-unknown-linux-musl ;; \
      arm64) echo aarch64-unknown-linux-musl ;; \
      *) echo "no target for $TARGETARCH" >&2; exit 1 ;; \
    esac >/target \
 && rustup target add "$(cat /target)"
# An arm64 kernel may have pages of 4, 16 or 64 KiB: jemalloc has to be made for the largest.
ENV PATH="/opt/zig/bin:$PATH" \
    CARGO_BUILD=zigbuild \
    AARCH64_UNKNOWN_LINUX_MUSL_JEMALLOC_SYS_WITH_LG_PAGE=16
COPY . .
# The caches outlive a build, so that a change compiles nothing but itself.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,id=herald-target-$TARGETARCH,target=/src/target \
    tools/build-release --bin herald --example receiver --target "$(cat /target)" \
 && install -D "target/$(cat /target)/release/herald" /out/herald \
 && install -D "target/$(cat /target)/release/examples/receiver" /out/receiver

# An endpoint to try Herald with: docker build --target receiver
FROM scratch AS receiver
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/receiver /receiver
USER 65532:65532
EXPOSE 8443
ENTRYPOINT ["/receiver"]

# The program and the authorities that everybody trusts: no shell, no libc, no package manager.
FROM scratch
ARG REVISION
LABEL org.opencontainers.image.title="Herald" \
      org.opencontainers.image.description="Webhooks for user events, as a Kubernetes resource" \
      org.opencontainers.image.source="https://github.com/herald-dev/herald" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/herald /herald
# A number, so that runAsNonRoot can tell that it is not root.
USER 65532:65532
EXPOSE 8443 9090
ENTRYPOINT ["/herald"]
