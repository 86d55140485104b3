#!/usr/bin/env bash
# The documented walk through the other APIs with curl, against a running service. Ends with an error at the first surprise.
#
#   scripts/smoke-other-apis.sh [URL]      URL: http://127.0.0.1:8000 if left out; RLM_API_KEY is sent where it is set
set -euo pipefail

base="${1:-${RLM_URL:-http://127.0.0.1:8000}}"
id="smoke-$$-$RANDOM"
source "$(dirname "$0")/smoke-calls.sh"

# traffic-jam-session: users, contracts, companies with their users.
for kind in user contract; do
  post 200 "locked by process worker-1" "/lock/$kind/$id" '{"processId": "worker-1", "ttl": 60}'
  post 409 '"success":false,"message":"[A-Z][a-z]+ '"$id"' is already locked"' "/lock/$kind/$id" '{"processId": "worker-2", "ttl": "60"}'
  get 200 '"locked":true,"holder":"worker-1"' "/lock/$kind/$id"
  post 403 'is not locked by process worker-2' "/unlock/$kind/$id" '{"processId": "worker-2"}'
  post 200 'unlocked by process worker-1' "/unlock/$kind/$id" '{"processId": "worker-1"}'
  get 200 '"locked":false,"holder":null' "/lock/$kind/$id"
done
company="{\"processId\": \"batch-job-5\", \"userIds\": [\"$id-a\", \"$id-b\"], \"ttl\": 120}"
post 200 '"companyLocked":true' "/lock/company/$id" "$company"
post 409 '"message":"Company already locked"' "/lock/company/$id" "$company"
post 409 "\"failedUser\":\"$id-b\"" "/lock/company/$id-other" "{\"processId\": \"x\", \"userIds\": [\"$id-b\"]}"
get 200 '"holder":"batch-job-5"' "/lock/company/$id"
get 200 '"holder":"batch-job-5"' "/lock/user/$id-a"
get 200 '"total_locks":1,' /locks/all-locked --data-urlencode "prefix=lock:company:$id"
post 200 '"companyUnlocked":true' "/unlock/company/$id" "$company"
call 400 '"error":"processId is required"' --request POST "$base/lock/user/$id"
post 400 '"error":"userIds array is required"' "/lock/company/$id" '{"processId": "x"}'

# The Document Locking System.
alice="{\"docId\": \"$id\", \"userId\": \"user-456\", \"ttl\": 300, \"username\": \"john.doe\"}"
bob="{\"docId\": \"$id\", \"userId\": \"user-789\"}"
post 200 '"message":"Lock acquired successfully","lockInfo":\{"userId":"user-456","timestamp":[0-9]+,"username":"john.doe"\}' /api/lock/acquire "$alice"
post 409 '"lockedBy":"user-456"' /api/lock/acquire "$bob"
get 200 '"isLocked":true' "/api/lock/status/$id"
post 200 'Lock extended successfully' /api/lock/extend "$alice"
post 400 'You do not own this lock' /api/lock/extend "$bob"
post 403 'You do not own this lock' /api/lock/release "$bob"
get 200 "\"docId\":\"$id\"" /api/lock/all
post 200 'Lock released successfully' /api/lock/release "$alice"
post 200 'Lock acquired successfully' /api/lock/acquire "$bob"
post 200 'Lock force-released successfully' /api/lock/force-release "{\"docId\": \"$id\", \"adminUserId\": \"admin-789\"}"
get 200 '"isLocked":false,"lockInfo":null' "/api/lock/status/$id"
post 400 '"error":"docId and userId are required"' /api/lock/acquire '{"docId": "x"}'

# The Ticket Booking API. Nobody can release a seat, so that this one stays locked for a minute.
post 200 "Seat $id booked successfully. Lock active for 1 minute." /api/book "{\"seat_number\": \"$id\"}"
post 409 "Seat $id is currently locked.\",\"try_again_in_seconds\":[0-9]+" /api/book "{\"seat_number\": \"$id\"}"
post 400 '"error":"seat_number is required"' /api/book '{}'

# Terraform and OpenTofu, which have methods of their own. The empty body of force-unlock is the last step.
run="{\"ID\": \"$id\", \"Operation\": \"OperationTypeApply\", \"Who\": \"ann@laptop\", \"Version\": \"1.11.4\"}"
state() { call "$2" "$3" --request "$1" "$base/terraform/$id" --header 'Content-Type: application/json' --data "$4"; }
state LOCK 200 "\"ID\":\"$id\"" "$run"
state LOCK 423 "\"ID\":\"$id\".*\"Who\":\"ann@laptop\"" '{"ID": "another run"}'
state UNLOCK 409 'The lock was lost' '{"ID": "another run"}'
state UNLOCK 200 "\"ID\":\"$id\"" "$run"
state UNLOCK 404 'The state is not locked' ''
post 400 '"error":"ID is required"' "/terraform/$id/lock" '{}'

echo "All $steps steps answered as documented."
