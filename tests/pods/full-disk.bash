# The volume fills up by something that is not Herald's: new events are refused, what is queued is delivered, and there
# is an end to it by itself. The volume is a small one in memory, over the one that the chart claims.
# shellcheck shell=bash

full_disk() {
  step "a full disk: refused at the door, delivered on, taken again"
  local reserve=$((128 << 20)) before refusals
  before=$(proved_at)
  cat >"$scratch/small.yaml" <<Y
journal: {reserve: $reserve, maxBytes: $((256 << 20))}
dispatcher:
  extraVolumes: [{name: small, emptyDir: {medium: Memory, sizeLimit: 384Mi}}]
  extraVolumeMounts: [{name: small, mountPath: /var/lib/herald/journal}]
Y
  helm upgrade herald charts/herald -n herald-system --reuse-values -f "$scratch/small.yaml" --wait --timeout 3m >/dev/null
  come_from_outside
  equal "an event is answered with" 202 "$(answer room-1)"
  hold
  send_load queued 200
  load_ended queued 200

  share_volume
  ballast dd if=/dev/zero of=/volume/ballast bs=1M count=300
  within 15 "new events are refused" refuses full-1
  grep -iq '^retry-after: 10' "$scratch/headers" || fail "when to come again: $(<"$scratch/headers")"
  ok "with Retry-After: $(<"$scratch/body")"
  [[ $(free_bytes) -lt $reserve ]] || fail "herald_journal_disk_free_bytes says $(free_bytes)"
  ok "herald_journal_disk_free_bytes: $(free_bytes), below the $reserve that are kept"
  let_go
  balanced queued 200
  equal "meanwhile an event is answered with" 503 "$(answer full-2)"
  equal "restarts" 0 "$(field pod herald-system herald-dispatcher-0 '{.status.containerStatuses[0].restartCount}')"

  refusals=$(refusals)
  send_load patient 20
  within 60 "a producer is refused, and goes on trying" refused_more_than "$refusals"
  ballast rm /volume/ballast
  load_ended patient 20
  balanced patient 20
  leave
  helm rollback herald -n herald-system --wait --timeout 3m >/dev/null
  equal "the proof" "$before" "$(proved_at)"
}

# Starts a container beside the dispatcher, with its volume.
share_volume() {
  printf 'volumeMounts: [{name: small, mountPath: /volume}]\n' >"$scratch/ballast.yaml"
  # Among the processes of its target it is not the first, which would be deaf to SIGTERM and hold up the pod's end.
  kubectl debug -n herald-system herald-dispatcher-0 --image="$tools_image" --container=ballast --target=dispatcher \
    --profile=restricted --custom="$scratch/ballast.yaml" -- sleep 600 >/dev/null
  within 30 "a container shares the volume" ballast_runs
}

# ballast COMMAND…: in that container
ballast() {
  local output
  output=$(kubectl exec -n herald-system herald-dispatcher-0 -c ballast -- "$@" 2>&1) || fail "$*: $output"
}

ballast_runs() { [[ -n $(field pod herald-system herald-dispatcher-0 '{.status.ephemeralContainerStatuses[0].state.running.startedAt}') ]]; }

# The status that one new event is answered with; the rest is in $scratch/headers and body.
answer() {
  local token host=herald.herald-system.svc:8443
  token=$(kubectl create token -n identity identity-service --audience=herald/herald-system)
  curl --silent --show-error --max-time 10 --connect-to "$host:$HERALD_CONNECT" --cacert "$HERALD_CA_FILE" \
    --dump-header "$scratch/headers" --output "$scratch/body" --write-out '%{http_code}' \
    --header "authorization: Bearer $token" --header 'content-type: application/cloudevents+json' \
    --data '{"specversion":"1.0","id":"'"$1"'","source":"/disk","type":"user.created","subject":"'"$1"'","data":{}}' \
    "https://$host/v1/namespaces/identity/events"
}

refuses() { [[ $(answer "$1") == 503 ]]; }

free_bytes() { metric herald_journal_disk_free_bytes; }

refusals() { metric 'herald_ingest_requests_total{code="503"}'; }

# The sum of the samples whose names begin so.
metric() {
  kubectl get --raw /api/v1/namespaces/herald-system/pods/herald-dispatcher-0:9090/proxy/metrics |
    awk -v name="$1" 'index($0, name) == 1 { sum += $2 } END { printf "%d", sum }'
}

refused_more_than() { [[ $(refusals) -gt $1 ]]; }
