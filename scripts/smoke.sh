#!/usr/bin/env bash
# The documented walk through the API with curl, against a running service. Ends with an error at the first surprise.
#
#   scripts/smoke.sh [URL]      URL: http://127.0.0.1:8000 if left out; RLM_API_KEY is sent where it is set
set -euo pipefail

base="${1:-${RLM_URL:-http://127.0.0.1:8000}}"
resource="smoke-$$-$RANDOM"

source "$(dirname "$0")/smoke-calls.sh"
name=(--data-urlencode "resource_name=$resource")

get 200 '"status":"healthy"' /health
get 200 "is not locked" /locks/status "${name[@]}"
post 200 "Lock acquired successfully for resource '$resource'" /locks/request \
  "{\"resource_name\":\"$resource\",\"process_id\":\"smoke-1\",\"ttl_seconds\":60,\"request_id\":\"$resource\"}"
post 200 '"replayed":true' /locks/request \
  "{\"resource_name\":\"$resource\",\"process_id\":\"smoke-1\",\"ttl_seconds\":60,\"request_id\":\"$resource\"}"
post 409 "is already locked by process 'smoke-1'" /locks/request "{\"resource_name\":\"$resource\",\"process_id\":\"smoke-2\"}"
get 200 '"locked_by":"smoke-1"' /locks/status "${name[@]}"
get 200 '"total_locks":1' /locks/all-locked --data-urlencode "prefix=$resource"
post 200 "Lock renewed successfully" /locks/renew "{\"resource_name\":\"$resource\",\"process_id\":\"smoke-1\"}"
delete 404 '"reason":"held_by_other"' /locks/release "${name[@]}" --data-urlencode process_id=smoke-2
delete 200 "Lock released successfully for resource '$resource'" /locks/release "${name[@]}" --data-urlencode process_id=smoke-1
delete 404 '"reason":"released"' /locks/release "${name[@]}" --data-urlencode process_id=smoke-1

# Somebody waits in line and is served when the lock is released.
post 200 '"lock_id"' /locks/request "{\"resource_name\":\"$resource\",\"process_id\":\"smoke-1\",\"ttl_seconds\":60}"
(post 200 '"process_id":"smoke-2"' /locks/request "{\"resource_name\":\"$resource\",\"process_id\":\"smoke-2\",\"ttl_seconds\":60,\"wait_seconds\":10}") &
waiting=$!
for _ in $(seq 50); do
  if curl --silent --max-time 5 --config <(authorization) --get "$base/locks/status" "${name[@]}" | grep -q '"waiters":1'; then break; fi
  sleep 0.1
done
delete 200 'Lock released' /locks/release "${name[@]}" --data-urlencode process_id=smoke-1
wait "$waiting"

post 200 'Lock force-released' /locks/force-release "{\"resource_name\":\"$resource\",\"reason\":\"smoke test\"}"
post 200 '"locks":\[' /locks/request-many "{\"resource_names\":[\"$resource/a\",\"$resource/b\"],\"process_id\":\"smoke-1\",\"ttl_seconds\":60}"
post 409 '"conflicts":\[' /locks/request-many "{\"resource_names\":[\"$resource/b\",\"$resource/c\"],\"process_id\":\"smoke-2\"}"
post 200 '"not_held":\[\{' /locks/release-many "{\"resource_names\":[\"$resource/a\",\"$resource/c\"],\"process_id\":\"smoke-1\"}"
post 200 '"total_released":1' /locks/force-release-all "{\"prefix\":\"$resource\",\"reason\":\"smoke test\"}"
get 200 '"event":"force_released"' /locks/history "${name[@]}"
get 200 '"grants":' /locks/stats
get 200 'rlm_locks_held.* [0-9]+' /metrics
post 422 '"code":"INVALID_REQUEST"' /locks/request '{"process_id":"smoke-1"}'
get 404 '"code":"NOT_FOUND"' /no/such/path
get 200 'openapi' /openapi.json
get 200 '<html' /docs

echo "All $steps steps answered as documented."
