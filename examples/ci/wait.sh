#!/bin/sh
# Waits as `stackd wait` does, by the JSON API. Exits 0 done, 1 error, 2 failed, rolled back or
# invalid, 3 waits for a person (or a pipeline), 4 timeout, 5 superseded.
# Usage: wait.sh STACK[/SERVICE] [SECONDS [QUERY]]     QUERY: release=N, revision=ID or commit=SHA
set -eu
here=$(dirname "$0")
path=/v1/stacks/$(printf %s "$1" | sed 's#/#/services/#')/wait
end=$(($(date +%s) + ${2:-900}))
while :; do
  left=$((end - $(date +%s)))
  if [ "$left" -lt 0 ]; then left=0; fi
  if [ "$left" -gt 50 ]; then part=50; else part=$left; fi # proxies cut silent connections
  answer=$(sh "$here/api.sh" GET "$path?timeout=$part${3:+&$3}") || { echo "$answer" >&2; exit 1; }
  code=$(echo "$answer" | jq .code)
  echo "$answer" | jq -r .text
  if [ "$code" != 4 ] || [ "$left" -eq 0 ]; then exit "$code"; fi
done
