#!/bin/sh
# Asks the application for WATCH seconds; exits 1 when more than 1 in 100 answers are errors.
# Usage: check.sh URL     from the environment: WATCH (60)
set -eu
all=0 bad=0
end=$(($(date +%s) + ${WATCH:-60}))
while [ "$(date +%s)" -lt "$end" ]; do
  all=$((all + 1))
  curl --fail --silent --output /dev/null --max-time 5 "$1" || bad=$((bad + 1))
done
echo "$bad of $all answers were errors"
[ "$all" -gt 0 ] && [ $((bad * 100)) -le "$all" ]
