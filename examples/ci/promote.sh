#!/bin/sh
# Promotes the rollout of a service if it waits, and if it is that of the release that `apply` has
# answered with: what somebody else has declared since is not this pipeline's to promote, nor is a
# later pause, which the API refuses (409). Exits 0, or as wait.sh does.
# Usage: promote.sh STACK/SERVICE ANSWER     ANSWER: the file with the answer of `apply`
set -eu
here=$(dirname "$0")
path=/v1/stacks/$(printf %s "$1" | sed 's#/#/services/#')
release=$(jq -e .release "$2")
code=0
sh "$here/wait.sh" "$1" 30 "release=$release" || code=$?
case $code in
  0) echo "nothing waits" ;;
  3)
    status=$(sh "$here/api.sh" GET "$path")
    seen=$(echo "$status" | jq -ce --argjson ours "$release" \
      'select(.rollout.release == $ours) | {revision: .rollout.target, step}') || exit 5
    sh "$here/api.sh" POST "$path/promote" "$seen"
    ;;
  *) exit "$code" ;;
esac
