# What the scenarios share: how they tell, wait and count.
# shellcheck shell=bash

step() { printf '\n== %4d s  %s\n' "$SECONDS" "$*"; }
ok() { printf '   ✓ %s\n' "$*"; }

fail() {
  printf '\nFAILED: %s\n' "$*" >&2
  exit 1
}

# What a person would look at first.
diagnose() {
  local pod
  kubectl get pods,pvc,webhooks -A -o wide || true
  kubectl get events -A --sort-by=.lastTimestamp | tail -n 30 || true
  for pod in $(kubectl get pods -n herald-system -o name); do
    printf -- '--- the end of %s\n' "$pod"
    kubectl logs -n herald-system "$pod" --tail=30 || true
  done
} >&2

# within SECONDS WHAT COMMAND…: the command succeeds in that time
within() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [[ $SECONDS -lt $deadline ]] || fail "$what: not in time"
    sleep 0.3
  done
  ok "$what"
}

# refused TEXT COMMAND…: the command fails and says TEXT
refused() {
  local text=$1 output
  shift
  if output=$("$@" 2>&1); then fail "was accepted: $*"; fi
  [[ $output == *"$text"* ]] || fail "$*: want a refusal that says \"$text\", got: $output"
  ok "refused: $text"
}

# says PATTERN COMMAND…: the command succeeds, and a line of what it prints matches
says() {
  local pattern=$1 output
  shift
  output=$("$@" 2>&1) || fail "$*: $output"
  grep -Eq -- "$pattern" <<<"$output" || fail "$*: want $pattern, got: $output"
  ok "${*:2}: $pattern"
}

# equal WHAT WANT GOT
equal() {
  [[ $2 == "$3" ]] || fail "$1: want $2, got $3"
  ok "$1: $3"
}

gone() { ! kubectl get "$@" >/dev/null 2>&1; }

ready() {
  kubectl rollout status -n herald-system --timeout=120s deployment/herald-controller >/dev/null &&
    kubectl rollout status -n herald-system --timeout=120s statefulset/herald-dispatcher >/dev/null
}

field() { kubectl get "$1" -n "$2" "$3" -o "jsonpath=$4"; }

proved_at() { field webhook identity audit-trail '{.status.verification.time}'; }

# What is matched from now on waits: the webhook's Secret no longer agrees.
hold() {
  kubectl label secret -n identity audit-trail herald.dev/allow-webhooks- >/dev/null
  kubectl wait -n identity webhook/audit-trail --for='jsonpath={.status.conditions[?(@.type=="Delivering")].reason}=SecretsUnresolved' --timeout=30s >/dev/null
}

let_go() { kubectl label secret -n identity audit-trail herald.dev/allow-webhooks=true >/dev/null; }

# fenced_commands FILE NAME: the shell commands between the two marks, as a person would copy them
fenced_commands() {
  local commands
  commands=$(awk -v name="$2" '
    $0 == "<!-- " name " -->" { inside = 1; next }
    $0 == "<!-- /" name " -->" { inside = 0 }
    inside && /^```/ { fenced = !fenced; next }
    inside && fenced { print }
  ' "$1")
  [[ -n $commands ]] || fail "$1 has no commands between the marks $2"
  printf '%s\n' "$commands"
}

# The memory of Herald's containers, as their kubelets measure it.
footprint() {
  local node
  for node in $(kubectl get nodes -o name); do
    kubectl get --raw "/api/v1/nodes/${node#node/}/proxy/stats/summary" | tr -d ' \n' | awk -v RS='"podRef":' '
      function number(name) { match(text, "\"" name "\":[0-9]+"); return substr(text, RSTART + length(name) + 3, RLENGTH - length(name) - 3) / 1048576 }
      /^{"name":"herald-/ {
        split($0, quoted, "\"")
        text = substr($0, index($0, "\"containers\":"))
        printf "   memory of %-38s rss %5.1f MiB, working set %5.1f MiB\n", quoted[4], number("rssBytes"), number("workingSetBytes")
      }'
  done
}

# --- the ledger ---------------------------------------------------------------

# send_load NAME COUNT: a Job that sends so many events, each in a request of its own, whatever happens meanwhile
send_load() {
  local name=$1 count=$2
  awk -v name="$name" -v count="$count" 'BEGIN {
    event = "{\"specversion\":\"1.0\",\"id\":\"%s\",\"source\":\"/load\",\"type\":\"user.created\",\"subject\":\"%s\",\"data\":{}}\n"
    for (i = 1; i <= count; i++) printf event, name "-" i, name "-" i
  }' |
    kubectl create configmap "$name" -n identity --from-file=events.ndjson=/dev/stdin >/dev/null
  kubectl create -f - >/dev/null <<Y
apiVersion: batch/v1
kind: Job
metadata: {name: $name, namespace: identity}
spec:
  backoffLimit: 0
  template:
    spec:
      serviceAccountName: identity-service
      automountServiceAccountToken: false
      restartPolicy: Never
      securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: send
          image: herald:dev
          args: [send, "--url=https://herald.herald-system.svc", --namespace=identity, --token-file=/var/run/herald/token,
            --ca-file=/var/run/herald/ca.crt, --filename=/events/events.ndjson, --batch=1, --retry=120]
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
          volumeMounts:
            - {name: herald, mountPath: /var/run/herald, readOnly: true}
            - {name: events, mountPath: /events, readOnly: true}
      volumes:
        - name: events
          configMap: {name: $name}
        - name: herald
          projected:
            sources:
              - serviceAccountToken: {audience: herald/herald-system, path: token}
              - configMap: {name: herald-ca}
Y
}

# load_ended NAME COUNT: every event was answered with 202
load_ended() {
  kubectl wait -n identity "job/$1" --for=condition=Complete --timeout=180s >/dev/null || {
    kubectl logs -n identity "job/$1" >&2 || true
    fail "the load $1 did not end well"
  }
  local answer
  answer=$(kubectl logs -n identity "job/$1")
  [[ $answer =~ \"accepted\":([0-9]+) ]] || fail "the load $1 says: $answer"
  local accepted=${BASH_REMATCH[1]}
  [[ $answer =~ \"duplicate\":([0-9]+) ]] || fail "the load $1 says: $answer"
  # A duplicate is an event that was stored before an answer that got lost.
  equal "acknowledged of $1" "$2" "$((accepted + BASH_REMATCH[1]))"
}

received() {
  # The subject stands in the line once more, outside of the event.
  kubectl logs -n identity deployment/receiver --tail=-1 |
    grep '"status":204' | grep -o "\"subject\":\"$1-[0-9]*\",\"timestamp\"" | sort | uniq -c
}

all_received() { [[ $(received "$1" | wc -l) -eq $2 ]]; }

# balanced NAME COUNT: what was acknowledged has arrived
balanced() {
  within 90 "all $2 events of $1 arrived" all_received "$1" "$2"
  ok "repeated: $(received "$1" | awk '{ n += $1 - 1 } END { print n + 0 }')"
}
