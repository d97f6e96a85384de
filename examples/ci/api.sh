#!/bin/sh
# One request to the JSON API of stackd: prints the answer; exits 0, or 1 with the problem printed.
# Usage: api.sh GET|POST PATH [JSON|@FILE]     from the environment: STACKD_URL, STACKD_TOKEN
set -eu
verb=$1 path=$2
if [ $# -gt 2 ]; then set -- --data-binary "$3"; else set --; fi
# the token comes from standard input, so that it is in no list of processes
printf 'header = "Authorization: Bearer %s"\n' "$STACKD_TOKEN" |
  curl --config - --silent --show-error --fail-with-body --request "$verb" \
    --retry 5 --retry-connrefused --retry-delay 2 "$@" "${STACKD_URL%/}$path" || exit 1
