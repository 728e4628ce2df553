#!/usr/bin/env bash
# Installs what Tortie needs on Debian 12: packages through apt, Python packages from the hashed lock into .venv.
# Idempotent and quick when there is nothing to do; starts no service on this machine.
set -euo pipefail
cd "$(dirname "$0")"

APT="ca-certificates python3 python3-venv nftables libnftables1 iproute2 conntrack bird2 runit bubblewrap util-linux procps iputils-ping hostname"
# What only the tests need.
APT="$APT curl"

say() { printf '%s\n' "$*" >&2; }

if [ "$(uname -s)" != Linux ]; then say "Tortie runs on Linux only."; exit 1; fi

missing=""
for p in $APT; do
  dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing="$missing $p"
done
if [ -n "$missing" ]; then
  if [ "$(id -u)" != 0 ]; then say "Root is needed to install Debian packages:$missing. Run as root."; exit 1; fi
  say "Installing Debian packages:$missing"
  # A policy of 101 keeps package scripts from starting daemons (BIRD, runit) on this machine itself.
  policy=/usr/sbin/policy-rc.d
  made=""
  if [ ! -e "$policy" ]; then printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod 755 "$policy"; made=1; fi
  trap '[ -n "$made" ] && rm -f "$policy"' EXIT
  export DEBIAN_FRONTEND=noninteractive
  log=$(mktemp)
  { apt-get update -q && apt-get install -y -q --no-install-recommends $missing; } >"$log" 2>&1 \
    || { tail -20 "$log" >&2; say "apt-get failed; the lines above say why."; exit 1; }
  rm -f "$log"
  if [ -d /run/systemd/system ]; then systemctl disable --now -q bird.service bird6.service runit.service 2>/dev/null || true; fi
fi

stamp=.venv/.installed
want=$(cat requirements.lock pyproject.toml install.sh | sha256sum | cut -d' ' -f1)
if [ ! -e "$stamp" ] || [ "$(cat "$stamp")" != "$want" ]; then
  say "Installing Python packages into .venv"
  [ -x .venv/bin/python ] || /usr/bin/python3 -m venv .venv
  .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
  .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
  printf '%s' "$want" >"$stamp"
fi
