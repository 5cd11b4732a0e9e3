# syntax=docker/dockerfile:1

# The builder runs on the machine's own architecture and compiles for the
# target's, which takes minutes where emulation takes an hour.
FROM --platform=$BUILDPLATFORM docker.io/library/rust:1.95-bookworm AS build
ARG TARGETARCH
WORKDIR /src
# For the C code of ring: clang compiles for every target, and needs no libc of theirs.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends clang \
 && rm -rf /var/lib/apt/lists/*
RUN case "$TARGETARCH" in \
      amd64) echo x86_64-unknown-linux-musl ;; \
      arm64) echo aarch64-unknown-linux-musl ;; \
      *) echo "no target for $TARGETARCH" >&2; exit 1 ;; \
    esac >/target \
 && rustup target add "$(cat /target)"
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo \
    CC_x86_64_unknown_linux_musl=clang \
    CC_aarch64_unknown_linux_musl=clang \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="-Clink-self-contained=yes -Clinker=rust-lld" \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="-Clink-self-contained=yes -Clinker=rust-lld"
COPY . .
# The caches outlive a build, so that a change compiles nothing but itself.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,id=herald-target-$TARGETARCH,target=/src/target \
    cargo build --release --locked --bin herald --target "$(cat /target)" \
 && install -D "target/$(cat /target)/release/herald" /out/herald

# The root certificates and nothing else: no shell, no libc, no package manager.
FROM gcr.io/distroless/static-debian12:nonroot
LABEL org.opencontainers.image.title="Herald" \
      org.opencontainers.image.description="Webhooks for user events, as a Kubernetes resource" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/herald /herald
# A number, so that runAsNonRoot can tell that it is not root.
USER 65532:65532
EXPOSE 8443 9090
ENTRYPOINT ["/herald"]
