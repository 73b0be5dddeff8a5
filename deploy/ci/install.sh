#!/bin/sh
# Downloads the released attestor for this machine, compares its checksum, and prints the directory that holds it.
#
#   install.sh DIRECTORY
#
# ATTESTOR_RELEASE is another place that has the release's files, such as a mirror. The checksums hold there, too.
set -eu
dir=${1:?usage: install.sh DIRECTORY}
release=${ATTESTOR_RELEASE:-https://github.com/attestor-gate/attestor/releases/download/@VERSION@}

case "$(uname -s)-$(uname -m)" in
Linux-x86_64) file=attestor-linux-amd64 want=@SHA256:attestor-linux-amd64@ ;;
Linux-aarch64 | Linux-arm64) file=attestor-linux-arm64 want=@SHA256:attestor-linux-arm64@ ;;
Darwin-x86_64) file=attestor-darwin-amd64 want=@SHA256:attestor-darwin-amd64@ ;;
Darwin-arm64) file=attestor-darwin-arm64 want=@SHA256:attestor-darwin-arm64@ ;;
MINGW*-x86_64 | MSYS*-x86_64) file=attestor-windows-amd64.exe want=@SHA256:attestor-windows-amd64.exe@ ;;
MINGW*-aarch64 | MSYS*-aarch64) file=attestor-windows-arm64.exe want=@SHA256:attestor-windows-arm64.exe@ ;;
*)
	echo "install.sh: @VERSION@ has no attestor for $(uname -s) on $(uname -m)" >&2
	exit 2
	;;
esac

# What is there already is used only if it is the release's: a cache may hold anything.
sum() {
	if command -v sha256sum >/dev/null; then sha256sum <"$1"; else shasum -a 256 <"$1"; fi | cut -d ' ' -f 1
}
bin=$dir/attestor
case $file in *.exe) bin=$bin.exe ;; esac
mkdir -p "$dir"
if [ ! -f "$bin" ] || [ "$(sum "$bin")" != "$want" ]; then
	part=$bin.$$
	trap 'rm -f "$part"' EXIT
	if command -v curl >/dev/null; then
		curl -fsSL --retry 3 --max-time 300 -o "$part" "$release/$file"
	else
		wget -q -O "$part" "$release/$file"
	fi
	got=$(sum "$part")
	if [ "$got" != "$want" ]; then
		echo "install.sh: $release/$file has the SHA-256 $got; want $want" >&2
		exit 2
	fi
	chmod 755 "$part"
	mv "$part" "$bin"
fi
echo "$dir"
