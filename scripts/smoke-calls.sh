# What the walks with curl share; they source it after they have set $base.
steps=0

# For curl's --config: what stands on its command line, everybody on the machine can read.
authorization() {
  if [ -n "${RLM_API_KEY:-}" ]; then printf 'header = "Authorization: Bearer %s"\n' "$RLM_API_KEY"; fi
}

# call STATUS PATTERN CURL-ARGS…: the answer must have that status, and a body that matches the extended regular expression.
call() {
  local status="$1" pattern="$2" answer code
  shift 2
  if ! answer="$(curl --silent --show-error --max-time 20 --write-out '\n%{http_code}' --config <(authorization) "$@")"; then
    echo "FAILED: no answer from $base" >&2
    exit 1
  fi
  code="${answer##*$'\n'}"
  answer="${answer%$'\n'*}"
  if [ "$code" != "$status" ] || ! grep -Eq "$pattern" <<< "$answer"; then
    printf 'FAILED: expected %s and /%s/\nanswered %s %s\n' "$status" "$pattern" "$code" "$answer" >&2
    exit 1
  fi
  steps=$((steps + 1))
  printf '%s  %s\n' "$code" "${answer:0:150}"
}

get() { call "$1" "$2" --get "$base$3" "${@:4}"; }
post() { call "$1" "$2" --request POST "$base$3" --header 'Content-Type: application/json' --data "$4"; }
delete() { call "$1" "$2" --request DELETE --get "$base$3" "${@:4}"; }
