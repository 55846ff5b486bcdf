# One image per service: docker build --target gateway|graph-builder|anomaly-propagation .
#
# The builder compiles with Swift's own libraries linked statically. The images begin empty and hold one program, the
# shared libraries it names (libc, libpq and what that needs), the certificates of public authorities, and a user; no shell.
# `make images-test` proves everything but the builder, whose base image it does without.
ARG SWIFT_IMAGE=docker.io/library/swift:6.3-bookworm
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim
# The stage, or another image, that has the programs in /out.
ARG PROGRAMS=builder

FROM ${SWIFT_IMAGE} AS builder
# hadolint ignore=DL3008
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends libpq-dev libssl-dev zlib1g-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN mkdir /out \
    && for product in gateway graph-builder anomaly-propagation; do \
        swift build -c release --static-swift-stdlib --product "$product" \
        && install -s "$(swift build -c release --static-swift-stdlib --show-bin-path)/$product" /out/ || exit 1; \
    done

# hadolint ignore=DL3006
FROM ${PROGRAMS} AS programs

FROM ${BASE_IMAGE} AS libraries
# hadolint ignore=DL3008
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends ca-certificates libpq5 libstdc++6 zlib1g \
    && rm -rf /var/lib/apt/lists/*
COPY scripts/images/assemble.sh /assemble.sh
COPY --from=programs /out /out
RUN for product in gateway graph-builder anomaly-propagation; do /assemble.sh "$product" || exit 1; done

FROM scratch AS gateway
ARG VERSION=0.1.0
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="undercurrent gateway" \
    org.opencontainers.image.description="The one public door of Undercurrent" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${COMMIT}" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.source="https://github.com/undercurrent/undercurrent"
COPY --from=libraries /image/gateway /
ENV PATH=/usr/bin UNDERCURRENT_COMMIT=${COMMIT}
USER 10001:10001
EXPOSE 8443 9443
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/bin/gateway", "healthcheck"]
ENTRYPOINT ["/usr/bin/gateway"]
CMD ["serve"]

FROM scratch AS graph-builder
ARG VERSION=0.1.0
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="undercurrent graph-builder" \
    org.opencontainers.image.description="Takes observations in, computes correlation graphs" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${COMMIT}" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.source="https://github.com/undercurrent/undercurrent"
COPY --from=libraries /image/graph-builder /
ENV PATH=/usr/bin UNDERCURRENT_COMMIT=${COMMIT}
USER 10001:10001
EXPOSE 8081 9081
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/bin/graph-builder", "healthcheck"]
ENTRYPOINT ["/usr/bin/graph-builder"]
CMD ["serve"]

FROM scratch AS anomaly-propagation
ARG VERSION=0.1.0
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="undercurrent anomaly-propagation" \
    org.opencontainers.image.description="Anomalies, forecasts and root causes over correlation graphs" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${COMMIT}" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.source="https://github.com/undercurrent/undercurrent"
COPY --from=libraries /image/anomaly-propagation /
ENV PATH=/usr/bin UNDERCURRENT_COMMIT=${COMMIT}
USER 10001:10001
EXPOSE 8082 9082
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/bin/anomaly-propagation", "healthcheck"]
ENTRYPOINT ["/usr/bin/anomaly-propagation"]
CMD ["serve"]
