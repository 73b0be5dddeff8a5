# The gate's own image: two stages, a static binary on distroless, a numeric user that is not root, no shell.
# BUILDER and BASE can be overridden, so that the image is also built where these registries cannot be reached.
ARG BUILDER=docker.io/library/golang:1.26@sha256:3aff6657219a4d9c14e27fb1d8976c49c29fddb70ba835014f477e1c70636647
ARG BASE=gcr.io/distroless/static-debian13:nonroot@sha256:e2e927ec666bae08560abb3c55d0659eceabb657f56b6782ab500a9fc7f555e3

# Compiles on the machine's own platform for the one that is asked for: an image for both needs no emulation.
FROM --platform=${BUILDPLATFORM} ${BUILDER} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
ARG COMMIT=unknown
ARG TARGETOS
ARG TARGETARCH
# What BuildKit's clients hand on; the file is of that time, so that its layer has the same bytes however it is exported.
ARG SOURCE_DATE_EPOCH=0
# No build id, no paths, no cgo: the same sources make the same bytes.
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} go build -trimpath -buildvcs=false \
    -ldflags="-s -w -buildid= -X main.version=${VERSION} -X main.commit=${COMMIT}" \
    -o /attestor ./cmd/attestor && touch -d "@${SOURCE_DATE_EPOCH}" /attestor

FROM ${BASE}
ARG BASE
ARG VERSION=dev
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="attestor" \
      org.opencontainers.image.description="An admission gate for container images on Google Cloud" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/attestor-gate/attestor" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}" \
      org.opencontainers.image.base.name="${BASE}"
COPY --from=build /attestor /attestor
USER 65532:65532
ENTRYPOINT ["/attestor"]
CMD ["serve", "--config", "/etc/attestor/attestor.yaml"]
