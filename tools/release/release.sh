#!/usr/bin/env bash
# Makes dist/ from what is checked out: static binaries for Linux, macOS and Windows on two
# architectures, the image for Linux as an OCI layout, SBOMs and SLSA provenance, the files for
# CI systems with this version in them, checksums.
# The same commit makes the same bytes, wherever it is checked out.
#
#   tools/release/release.sh                     # needs Go, git and buildah
#   BASE=… BUILDER=… BUILD_FLAGS=… tools/release/release.sh   # images of one's own, where the registries cannot be reached
#   IMAGE=ghcr.io/acme/attestor tools/release/release.sh      # the repository that you publish the image in, for dist/README.md and dist/ci
#   PLATFORMS="linux/amd64 darwin/arm64" tools/release/release.sh   # fewer binaries; then dist/ci is not written
#
# Nothing is signed or published here: docs/deploy.md says how.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[[ -z $(git status --porcelain) ]] || [[ -n ${ALLOW_DIRTY:-} ]] || { echo "release.sh: there are changes that are not committed; ALLOW_DIRTY=1 makes a release that nobody can make again" >&2; exit 2; }

VERSION=${VERSION:-$(git describe --tags --always)}
commit=$(git rev-parse HEAD)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOWORK=off
platforms=(linux/amd64 linux/arm64)
read -ra binaries <<<"${PLATFORMS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

rm -rf dist
mkdir -p dist
go build -C tools/release -trimpath -ldflags='-s -w -buildid=' -o "$work/" github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod .

# On macOS and Windows it is the client, and everything of attestor dev; the gate itself is run on Linux.
for platform in "${binaries[@]}"; do
	name=attestor-${platform//\//-}
	[[ $platform != windows/* ]] || name+=.exe
	echo "== $name"
	GOOS=${platform%/*} GOARCH=${platform#*/} go build -trimpath \
		-ldflags="-s -w -buildid= -X main.version=$VERSION -X main.commit=${commit:0:12}" -o "dist/$name" ./cmd/attestor
	GOOS=${platform%/*} GOARCH=${platform#*/} "$work/cyclonedx-gomod" app -json -noserial -notimestamp -licenses -assert-licenses \
		-main cmd/attestor -output "dist/$name.cdx.json" . 2>/dev/null
done

if [[ -z ${NO_IMAGE:-} ]]; then
	echo "== image"
	args=(--build-arg "VERSION=$VERSION" --build-arg "COMMIT=${commit:0:12}")
	[[ -z ${BASE:-} ]] || args+=(--build-arg "BASE=$BASE")
	[[ -z ${BUILDER:-} ]] || args+=(--build-arg "BUILDER=$BUILDER")
	# One after the other: built at once, their order in the index is chance.
	buildah manifest rm "attestor:$VERSION" >/dev/null 2>&1 || true
	buildah manifest create "attestor:$VERSION" >/dev/null
	for platform in "${platforms[@]}"; do
		tag=attestor:$VERSION-${platform//\//-}
		# shellcheck disable=SC2086 # BUILD_FLAGS is several words
		buildah bud ${BUILD_FLAGS:-} --platform "$platform" -t "$tag" --format oci \
			--identity-label=false --timestamp "$SOURCE_DATE_EPOCH" "${args[@]}" . >"$work/image.log" 2>&1 || { cat "$work/image.log" >&2; exit 1; }
		buildah manifest add "attestor:$VERSION" "containers-storage:localhost/$tag" >/dev/null
	done
	buildah manifest push --all "attestor:$VERSION" oci:dist/image >/dev/null
fi

"$work/release" -dist dist -version "$VERSION" -commit "$commit" -epoch "$SOURCE_DATE_EPOCH" -base "${BASE:-}" -builder "${BUILDER:-}" -dockerfile Dockerfile -image "${IMAGE:-}" -ci deploy/ci
(cd dist && find . -type f | LC_ALL=C sort | sed 's|^\./||' | xargs sha256sum >"$work/SHA256SUMS")
cp "$work/SHA256SUMS" dist/
echo "== dist: $(wc -l <dist/SHA256SUMS) files, $VERSION of $commit"
