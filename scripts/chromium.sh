#!/usr/bin/env bash
# Sees to it that the browser tests have a Chromium: one on PATH, else apt's when root, else Playwright's own.
# tests/browser/site.py looks for it in the same order. Usage: scripts/chromium.sh PYTHON
set -euo pipefail

found() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

found && exit
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    if apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium; then
        found && exit
    fi
fi
"$1" -m playwright install chromium
