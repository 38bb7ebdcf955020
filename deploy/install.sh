#!/bin/sh
# Install npud into an environment of its own, with the systemd unit; docs/operations.md.
#
#   sudo deploy/install.sh                      from this source tree (needs gcc, python3-dev, PyPI)
#   sudo deploy/install.sh --wheels DIR         from wheels, without a network
#   sudo deploy/install.sh --rollback           back to the version before; again: forth
#   sudo deploy/install.sh --uninstall          configuration and recordings stay; --purge: they go
#   options: --prefix DIR  [/opt/npud]          --extras LIST  [sim,record,video,metrics]
#            --environment-only                 no unit, no user, no configuration (the package has them)
#
# PREFIX/versions/VERSION-DIGEST is an environment, PREFIX/current the one in use, PREFIX/previous the one
# before.  Nothing is in use before it has run; what was interrupted is made again; the same twice is nothing.
set -eu
umask 022

prefix=/opt/npud wheels='' action=install extras=sim,record,video,metrics only='' purge='' changed=''
here=$(cd "$(dirname "$0")" && pwd)
say() { echo "npud: $*"; }
die() { echo "npud: error: $*" >&2; exit 1; }
value() { [ "$#" -ge 2 ] || die "$1: expected a value"; echo "$2"; }

while [ $# -gt 0 ]; do
  case $1 in
    --prefix) prefix=$(value "$@"); shift ;;
    --wheels) wheels=$(value "$@"); shift ;;
    --extras) extras=$(value "$@"); shift ;;
    --environment-only) only=1 ;;
    --purge) purge=1 ;;
    --rollback | --uninstall) action=${1#--} ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit ;;
    *) echo "npud: error: unknown option $1; see --help" >&2; exit 2 ;;
  esac
  shift
done
[ "$(id -u)" = 0 ] || die "run it as root: sudo $0"
case $prefix in /*/* | /opt) ;; *) die "--prefix: expected a folder like /opt/npud, got $prefix" ;; esac

running() { [ -d /run/systemd/system ]; }

# Restart what runs; what does not start is told, with the way back.
restart() {
  if [ -z "$changed" ] || ! running; then return; fi
  systemctl daemon-reload
  for unit in $(systemctl list-units --plain --no-legend --state=active 'npud.service' 'npud@*.service' | cut -d' ' -f1); do
    systemctl restart "$unit" || say "$unit does not start: journalctl -u $unit; back: $0 --rollback"
  done
}

# Let a symlink point elsewhere, at once: rename(2).
point() { ln -sfn "$2" "$1.new" && mv -fT "$1.new" "$1"; }
target() { if [ -L "$1" ]; then readlink "$1"; fi; }

digest() {
  if [ -n "$wheels" ]; then cd "$wheels" && sha256sum ./*.whl; else
    cd "$here/.." && find npud postprocess runtime native pyproject.toml setup.py -type f \
      ! -name '*.pyc' ! -name '*.so' -exec sha256sum {} + | LC_ALL=C sort
  fi | { cat; echo "$extras $(python3 -V)"; } | sha256sum | cut -c1-8
}

version() {
  if [ -z "$wheels" ]; then
    sed -n 's/^__version__ = "\(.*\)"/\1/p' "$here/../npud/_version.py"
    return
  fi
  find "$wheels" -name 'npud-*.whl' | sed 's|.*/npud-\([^-]*\)-.*|\1|' | sort -u | tail -1
}

# Make the environment $1.
build() {
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die "expected Python 3.10 or later, got $(python3 -V)"
  python3 -c 'import ensurepip, venv' 2>/dev/null || die "no Python environments: apt install python3-venv"
  rm -rf "$1"
  # the RDK X5's image has its binding, hobot_dnn, among the system's packages
  seen=$(python3 -c 'import importlib.util as u; print("--system-site-packages" * bool(u.find_spec("hobot_dnn")))')
  # shellcheck disable=SC2086 # an option or none
  python3 -m venv $seen "$1"
  pip="$1/bin/python -m pip --disable-pip-version-check --no-cache-dir install --quiet"
  if [ -n "$wheels" ]; then
    $pip --no-index --find-links "$wheels" "npud[$extras]==$(version)"
  else
    copy=$(mktemp -d)
    (cd "$here/.." && cp -R npud postprocess runtime native pyproject.toml setup.py README.md LICENSE MANIFEST.in "$copy")
    $pip "${copy}[$extras]" || { rm -rf "$copy"; die "cannot install (above); current is what it was"; }
    rm -rf "$copy"
  fi
  "$1/bin/npud" --version >/dev/null
  touch "$1/complete"
}

environment() {
  mkdir -p "$prefix/versions"
  exec 9>"$prefix/.lock"
  flock -n 9 || die "another install.sh is at work"
  new=versions/$(version)-$(digest)
  old=$(target "$prefix/current")
  [ -e "$prefix/$new/complete" ] || { say "making $prefix/$new"; build "$prefix/$new"; }
  if [ "$new" != "$old" ]; then
    [ -z "$old" ] || point "$prefix/previous" "$old"
    point "$prefix/current" "$new"
    changed=1
  fi
  for folder in "$prefix"/versions/*; do
    case versions/${folder##*/} in
      "$new" | "$(target "$prefix/previous")") ;;
      *) rm -rf "$folder" ;;
    esac
  done
}

# Put file $1 of deploy/ at $2, for this prefix; one that is the same is left alone.
place() {
  mkdir -p "$(dirname "$2")"
  sed "s|/opt/npud|$prefix|g" "$here/$1" >"$2.new"
  if cmp -s "$2.new" "$2"; then rm "$2.new"; else mv -f "$2.new" "$2" && changed=1; fi
}

system() {
  place npud.sysusers /usr/lib/sysusers.d/npud.conf
  place npud.service /etc/systemd/system/npud.service
  place npud@.service /etc/systemd/system/npud@.service
  place 60-npud.rules /etc/udev/rules.d/60-npud.rules
  [ -e /etc/npud/config.toml ] || place config.toml /etc/npud/config.toml
  mkdir -p /usr/local/bin
  point /usr/local/bin/npud "$prefix/current/bin/npud"
  if command -v systemd-sysusers >/dev/null; then systemd-sysusers npud.conf; fi
  if running; then
    udevadm control --reload
    udevadm trigger --subsystem-match=drm --subsystem-match=video4linux --subsystem-match=misc
  fi
}

case $action in
  install)
    environment
    [ -n "$only" ] || system
    restart
    say "$("$prefix/current/bin/npud" --version) is in $prefix/current"
    [ -n "$only" ] || say "next: /etc/npud/config.toml, then systemctl enable --now npud"
    ;;
  rollback)
    old=$(target "$prefix/current") back=$(target "$prefix/previous")
    { [ -n "$back" ] && [ -e "$prefix/$back/complete" ]; } || die "there is no version before this one in $prefix"
    point "$prefix/current" "$back"
    point "$prefix/previous" "$old"
    changed=1
    restart
    say "$back is in use again"
    ;;
  uninstall)
    if [ -z "$only" ]; then
      if running; then systemctl disable --quiet --now npud.service 'npud@*.service' 2>/dev/null || true; fi
      rm -f /etc/systemd/system/npud.service /etc/systemd/system/npud@.service
      rm -f /etc/udev/rules.d/60-npud.rules /usr/lib/sysusers.d/npud.conf
      [ "$(target /usr/local/bin/npud)" != "$prefix/current/bin/npud" ] || rm -f /usr/local/bin/npud
      if running; then systemctl daemon-reload; fi
    fi
    rm -rf "$prefix/versions" "$prefix/current" "$prefix/previous" "$prefix/.lock"
    rmdir "$prefix" 2>/dev/null || true
    if [ -n "$purge" ]; then
      rm -rf /etc/npud /var/lib/npud
      if getent passwd npud >/dev/null; then userdel npud; fi
      say "removed, with configuration, models and recordings"
    else
      say "removed; /etc/npud and /var/lib/npud are still there (--purge removes them)"
    fi
    ;;
esac
