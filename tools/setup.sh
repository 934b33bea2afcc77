#!/usr/bin/env bash
# Installs what is missing to build Quorate; `setup.sh test` also what only the tests need, and
# `setup.sh book` what builds the book, and nothing else. It may be run at any time: with nothing to do, it says nothing and takes a moment.
set -euo pipefail
shopt -s nullglob
cd "$(dirname "$0")/.."

target=wasm32-unknown-unknown

say() { echo "setup: $*" >&2; }
die() { say "$@"; exit 1; }
has() { command -v "$1" >/dev/null; }

apt_install() {
  local install=(apt-get install --no-install-recommends "$@") root=(env)
  has apt-get || die "this machine has no apt-get; please install what it calls: $*"
  if ((EUID != 0)); then
    has sudo || die "please run, as root: ${install[*]}"
    root=(sudo env)
  fi
  root+=(DEBIAN_FRONTEND=noninteractive)
  install+=(-yqq --no-remove -o Dpkg::Use-Pty=0)
  say "installing with apt-get: $*"
  # The first attempt fails where package lists were never fetched, or are out of date.
  if "${root[@]}" "${install[@]}" >/dev/null 2>&1; then return; fi
  if "${root[@]}" apt-get update -qq && "${root[@]}" "${install[@]}" >/dev/null; then return; fi
  die "that failed; please run, as root: apt-get update; apt-get install $*"
}

check_rust() {
  if rustc --version >/dev/null 2>&1 && cargo --version >/dev/null 2>&1; then return; fi
  die "Rust is missing: please install it with rustup (https://rustup.rs), then open a new shell"
}

# RocksDB is C++, and bindgen reads its headers with libclang.
setup_cpp() {
  local missing=() libclang=("${LIBCLANG_PATH:-}" /usr/lib*/{,*/,*/*/}libclang{,-[0-9]*}.so)
  has cc && has c++ || missing+=(g++ libc6-dev)
  [[ -n ${libclang[*]} ]] || missing+=(libclang-dev)
  ((${#missing[@]} == 0)) || apt_install "${missing[@]}"
}

# The same two ways, in the same order, as in sdk/toolchain: std installed, or its source.
can_build_plugins() {
  local rustc sysroot
  for rustc in rustc /usr/bin/rustc; do
    sysroot=$("$rustc" --print sysroot 2>/dev/null) || continue
    [[ -x $sysroot/bin/cargo ]] || continue
    if compgen -G "$sysroot/lib/rustlib/$target/lib/libstd-*.rlib" >/dev/null; then return; fi
    if [[ -f $sysroot/lib/rustlib/src/rust/library/Cargo.lock ]]; then return; fi
  done
  return 1
}

setup_target() {
  if can_build_plugins; then return; fi
  say "installing Rust's target $target, for plugins"
  # Fails where only package registries can be reached, and should not take long to find that out.
  if has rustup && timeout 60 rustup target add "$target" >/dev/null 2>&1; then return; fi
  say "rustup cannot; taking the standard library's source from Debian instead"
  apt_install rustc-web cargo-web rust-web-src
  can_build_plugins || die "there is still no way to compile for $target"
}

# A client in another language, in a virtual environment outside of the clone.
setup_python() {
  local wanted=tests/e2e/python/requirements.txt
  local venv=${QUORATE_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/quorate/python}
  if cmp -s "$wanted" "$venv/requirements.txt" && "$venv/bin/python" -c ''; then return; fi
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3 python3-venv
  say "installing the Python packages of $wanted in $venv"
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r "$wanted"
  # Last, and so the mark that all of it is there.
  cp "$wanted" "$venv/requirements.txt"
}

# A plugin in C.
setup_c() {
  has clang && has wasm-ld && has make || apt_install clang lld make
}

# The program that makes pages of Markdown, beside what other tools of this machine are.
setup_book() {
  local version=0.5.4 tools=${QUORATE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/quorate/tools}
  [[ $("$tools/bin/mdbook" --version 2>/dev/null) == "mdbook v$version" ]] && return
  say "compiling mdbook $version for $tools; that takes some minutes, once"
  cargo install mdbook --version "$version" --locked --no-default-features --features search \
    --quiet --root "$tools"
}

# Cargo tells clones that share a target folder apart by the times of their files alone: what
# another one has built since would be taken for a build of this one.
claim_target() {
  local dir=${CARGO_TARGET_DIR:-}
  [[ -n $dir ]] || return 0
  mkdir -p "$dir"
  [[ $(cat "$dir/quorate.clone" 2>/dev/null) != "$PWD" ]] || return 0
  find . \( -name .git -o -path ./target -o -path ./dist \) -prune -o -type f -exec touch {} +
  echo "$PWD" >"$dir/quorate.clone"
}

check_rust
if [[ ${1:-} == book ]]; then
  setup_book
  exit
fi
claim_target
setup_cpp
setup_target
case ${1:-} in
  "") ;;
  test) setup_c; setup_python ;;
  *) die "usage: tools/setup.sh [test|book]" ;;
esac
