# What somebody on call does from a desk: asks what became of an event, tries a webhook, sends dead letters again.
# Run after the quick start: the commands are those of docs/operations.md, with the rights of the chart's ClusterRoles.
# shellcheck shell=bash

on_call() {
  step "somebody on call asks, with the commands of docs/operations.md"
  bash -euo pipefail -c "$(fenced_commands docs/operations.md grant-on-call)" >/dev/null
  kubectl create serviceaccount -n identity nobody >/dev/null
  kubectl create serviceaccount -n identity auditor >/dev/null
  local role
  for role in operator payload-reader; do
    kubectl create rolebinding -n identity "auditor-$role" --clusterrole="herald-$role" --serviceaccount=identity:auditor >/dev/null
  done
  come_from_outside
  failing_webhook
  questions
  replays
  kubectl delete -n identity webhook/crm secret/crm serviceaccount/nobody serviceaccount/auditor \
    rolebinding/auditor-operator rolebinding/auditor-payload-reader rolebinding/on-call-views >/dev/null
  leave
}

# A webhook whose key the endpoint does not know, with dead letters of fewer events than open its circuit.
failing_webhook() {
  kubectl create -f - >/dev/null <<'Y'
apiVersion: v1
kind: Secret
metadata: {name: crm, namespace: identity, labels: {herald.dev/allow-webhooks: "true"}}
stringData: {api-key: an-old-one}
---
apiVersion: herald.dev/v1alpha1
kind: Webhook
metadata: {name: crm, namespace: identity}
spec:
  name: CRM
  uri: https://receiver.identity.svc.cluster.local/crm
  apiKeySecretRef: {name: crm, key: api-key}
  tls: {caConfigMapRef: {name: receiver-ca, key: ca.crt}}
  events: [User updated]
  delivery: {maxAttempts: 1}
Y
  kubectl wait -n identity webhook/crm --for=condition=Delivering --timeout=60s >/dev/null
  local n
  for n in 1 2 3; do
    printf '{"specversion":"1.0","id":"crm-%s","source":"/crm","type":"user.updated","subject":"crm-%s","data":{"email":"ada@example.com"}}\n' "$n" "$n"
  done >"$scratch/crm.ndjson"
  HERALD_SERVICE_ACCOUNT=identity/identity-service herald send -n identity --filename "$scratch/crm.ndjson" >/dev/null
  within 30 "the status counts 3 dead letters" dead_letters_are 3
  ids_that_failed=$(crm_ids 401)
}

dead_letters_are() { [[ $(field webhook identity crm '{.status.delivery.deadLetters}') == "$1" ]]; }

by() { HERALD_SERVICE_ACCOUNT=identity/$1 herald "${@:2}" -n identity; }

questions() {
  refused "may not get userevents.herald.dev" by nobody events get crm-1
  refused "may not list userevents.herald.dev" by nobody events list --webhook crm
  refused "may not list deadletters.herald.dev" by nobody deadletters list --webhook crm
  refused "may not delete deadletters.herald.dev" by nobody deadletters delete --webhook crm --all
  refused "may not create webhooks.herald.dev/test" by nobody test crm
  says "Dead.*UnexpectedStatus.*401" by on-call events get crm-1
  says "audit-trail +Delivered" by on-call events get "$(quickstart_id)"
  refused "may not get userevents.herald.dev/payload" by on-call events get crm-1 --payload
  says '"email": ?"ada@example.com"' by auditor events get crm-1 --payload
  equal "events that are dead" 3 "$(by on-call events list --webhook=crm --state=dead | grep -c '^Dead .* crm-[123] ')"
  equal "dead letters" 3 "$(by on-call deadletters list --webhook=crm | grep -c ' crm-[123] .* UnexpectedStatus ')"
  refused "401 Unauthorized" by on-call test crm --type "User updated"
  says "Result: +delivered" by on-call test audit-trail --type "User created"
  within 10 "the endpoint has the test" test_arrived
}

# The webhook-id that the endpoint saw.
quickstart_id() { kubectl logs -n identity deployment/receiver | grep '"subject":"user-1"' | grep -o '"id":"msg_[^"]*","note"' | cut -d '"' -f 4; }

test_arrived() { kubectl logs -n identity deployment/receiver --tail=-1 | grep '"status":204' | grep '"subject":"herald-test"' >/dev/null; }

replays() {
  step "Replays, by kubectl"
  refused 'cannot create resource "replays"' as nobody create -f - <<<"$(replay refused)"
  # Who is on call may view the namespace as well: herald-view is a part of view.
  kubectl create rolebinding -n identity on-call-views --clusterrole=view --serviceaccount=identity:on-call >/dev/null
  kubectl patch secret -n identity crm -p '{"stringData":{"api-key":"change-me"}}' >/dev/null

  # While the webhook is held a Replay waits, and one that is deleted sends nothing.
  kubectl patch webhook -n identity crm --type=merge -p '{"spec":{"enabled":false}}' >/dev/null
  kubectl wait -n identity webhook/crm --for='jsonpath={.status.conditions[?(@.type=="Delivering")].reason}=Disabled' --timeout=30s >/dev/null
  as on-call apply -f - <<<"$(replay deleted)" >/dev/null
  within 30 "it says that the webhook is held" replay_shows deleted 'crm +DeadLetters +WebhookHeld +0 +0 +0'
  as on-call delete replay deleted >/dev/null
  kubectl patch webhook -n identity crm --type=merge -p '{"spec":{"enabled":true}}' >/dev/null
  kubectl wait -n identity webhook/crm --for=condition=Delivering --timeout=30s >/dev/null
  # The dispatcher has seen that one go when it has ended another.
  as on-call apply -f - <<<"$(replay 'nothing, events: [User deleted]')" >/dev/null
  as on-call wait --for=condition=Ready replay/nothing --timeout=30s >/dev/null
  equal "events that the deleted one sent" 0 "$(crm_ids 204 | wc -w)"

  as on-call apply -f - <<<"$(replay after-the-outage)" >/dev/null
  as on-call wait --for=condition=Ready replay/after-the-outage --timeout=60s >/dev/null
  as on-call get replays
  replay_shows after-the-outage 'crm +DeadLetters +Finished +3 +3 +0' || fail "its columns"
  equal "the columns" "NAME WEBHOOK WHICH STATUS MATCHED REPLAYED FAILED AGE" "$(as on-call get replays | awk 'NR == 1 { $1 = $1; print }')"
  equal "the webhook-id of each is as it was" "$ids_that_failed" "$(crm_ids 204)"
  within 30 "no dead letter is left" dead_letters_are 0
  says "there are none" by on-call deadletters list --webhook=crm
  says "replay after-the-outage.* 204 " by on-call events get crm-1
  as on-call delete replay nothing after-the-outage >/dev/null
}

as() { kubectl --as="system:serviceaccount:identity:$1" -n identity "${@:2}"; }

# replay NAME[, MORE]: a Replay of dead letters, with more in its spec
replay() {
  printf '{apiVersion: herald.dev/v1alpha1, kind: Replay, metadata: {name: %s}, spec: {webhook: crm%s}}\n' "${1%%,*}" "$([[ $1 != *,* ]] || printf ',%s' "${1#*,}")"
}

replay_shows() { as on-call get replay "$1" --no-headers | grep -E "^$1 +$2 " >/dev/null; }

# The webhook-ids of the failing webhook's events that were answered so; of those that are refused the receiver knows no more.
crm_ids() {
  local subject=null
  [[ $1 != 204 ]] || subject='"crm-[0-9]*"'
  kubectl logs -n identity deployment/receiver --tail=-1 | grep "\"status\":$1.*\"subject\":$subject" |
    grep -o '"id":"msg_[^"]*","note"' | cut -d '"' -f 4 | sort -u | paste -sd ' '
}

# Connects from outside of the cluster, with the commands of docs/operations.md, the last of which asks.
come_from_outside() {
  local commands
  commands=$(fenced_commands docs/operations.md ask-from-outside)
  pushd "$scratch" >/dev/null || return
  eval "$(grep -v '^herald ' <<<"$commands")" >/dev/null
  port_forward=$!
  within 20 "asked from outside as written there" eval "$(grep '^herald ' <<<"$commands")"
  popd >/dev/null || return
  export HERALD_CA_FILE=$scratch/ca.crt
}

leave() {
  [[ -z ${port_forward:-} ]] || kill "$port_forward" 2>/dev/null || true
  port_forward=
}
