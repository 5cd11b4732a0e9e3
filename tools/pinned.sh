# Tools that are built by the version that a module of Go pins, once. Sourced, with `name` and `module` set.
#
#   pinned_go ARGUMENTS…            go, in the module
#   digest                          a short hash of what comes in
#   pinned PREFIX BINARY FLAGS WHAT builds the module's tools into the cache unless BINARY is there; prints the directory
# shellcheck shell=bash

cache=${XDG_CACHE_HOME:-$HOME/.cache}/herald-tools

say() { printf '%s: %s\n' "$name" "$*" >&2; }

# Neither a workspace nor flags of the user's change what is built.
pinned_go() { (cd "$module" && CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=readonly GOTOOLCHAIN=auto go "$@"); }

digest() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -c1-12; }

pinned() {
  local prefix=$1 binary=$2 flags=$3 what=$4 into
  into=$cache/$prefix-$(cat "$module"/go.* | digest)
  if [[ ! -x $into/$binary ]]; then
    command -v go >/dev/null || { say "needs Go 1.26 or later (https://go.dev/dl) to build $what"; exit 1; }
    say "building $what into $into (once)"
    rm -rf "$into.partial"
    mkdir -p "$into.partial"
    pinned_go build -trimpath -buildvcs=false -ldflags "$flags" -o "$into.partial/" tool >&2
    # Renamed into place, so that what is there is complete.
    rm -rf "$into"
    mv "$into.partial" "$into"
  fi
  printf '%s\n' "$into"
}
