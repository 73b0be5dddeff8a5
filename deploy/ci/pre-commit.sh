#!/bin/sh
# Checks policies with the released attestor, which is downloaded once. pre-commit gives the names of the files.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=$(sh "$here/install.sh" "${XDG_CACHE_HOME:-$HOME/.cache}/attestor/@VERSION@")
exec "$dir/attestor" policy lint --strict -- "$@"
