#!/bin/sh
# Aborts the rollout of a service if the release that `apply` has answered with began it: what
# somebody else has declared since goes on.
# Usage: abort.sh STACK/SERVICE ANSWER     ANSWER: the file with the answer of `apply`
set -eu
here=$(dirname "$0")
path=/v1/stacks/$(printf %s "$1" | sed 's#/#/services/#')
ours=$(jq '.release // empty' "$2" 2>/dev/null) || ours=
seen=$(sh "$here/api.sh" GET "$path" | jq -c --argjson ours "${ours:-0}" \
  '.rollout | select(.release == $ours and .phase != "complete") | {revision: .target}')
if [ -n "$seen" ]; then
  sh "$here/api.sh" POST "$path/abort" "$seen" || echo "there was nothing to abort"
else
  echo "there is nothing of this pipeline to abort"
fi
