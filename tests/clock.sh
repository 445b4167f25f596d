#!/usr/bin/env bash
# Tests under another clock: of an hour, a day and a zone in which texts and calendars have gone wrong before.
# None lies before the times that tests name: then these would be in the future.
# Run by `make test-clock`; what is given is passed on to pytest in the place of the usual choice of tests.
# Each clock is tried, also after one that failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
library=$PWD/.venv/clock.so
"${CC:-cc}" -shared -fPIC -O2 -o "$library" tests/support/clock.c -ldl

tests=("$@")
((${#tests[@]})) || tests=(
  tests/unit
  tests/integration/test_{log_forms,stats_command,export_command}.py
  tests/acceptance/test_{classic,moments,show_command,diff_command,checkpoint_command,gaps_command,revert_command}.py
)
failed=0
while read -r zone time; do
  echo "$time UTC in $zone" >&2
  TZ=$zone CLOCK_OFFSET_S=$(($(date -d "$time UTC" +%s) - $(date +%s))) LD_PRELOAD=$library \
    .venv/bin/python -m pytest --numprocesses "${WORKERS:-3}" --dist loadfile "${tests[@]}" </dev/null || failed=1
done <<'CLOCKS'
UTC 2026-11-30 20:30:00
UTC 2026-12-31 23:58:00
Europe/Berlin 2026-12-31 22:58:00
Asia/Tokyo 2028-02-29 14:00:00
Europe/Berlin 2027-03-28 00:58:00
Europe/Berlin 2027-10-31 00:58:00
America/Santiago 2027-09-05 03:58:00
CLOCKS
exit $failed
