#!/usr/bin/env bash
# Shows that tools/control-plane gives back the status of its command and that
# nothing is left of it, however it ends. Linux only: it looks at /proc.
# shellcheck disable=SC2317,SC2329 # functions are called by their names
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

unset HERALD_TEST_KUBECONFIG HERALD_TEST_AUDIT_LOG
scratch=$(mktemp -d "${TMPDIR:-/tmp}/control-plane-test.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

fail() {
  printf 'FAILED %s: %s\n' "${name:-}" "$*" >&2
  exit 1
}

# until_within SECONDS COMMAND…
until_within() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [[ $SECONDS -lt $deadline ]] || fail "still not so: $*"
    read -r -t 0.05 _ <> <(:) || true
  done
}

# Processes that name the directory in their arguments or their environment.
# The pattern comes from a file: as an argument it would find its own search.
processes_of() { grep -lsFf <(printf '%s\n' "$1") /proc/[0-9]*/cmdline /proc/[0-9]*/environ || true; }
nothing_left() { [[ ! -e $1 && -z $(processes_of "$1") ]]; }
told() { [[ -s $told ]]; }
# A process that nobody has waited for yet is there, as a zombie.
over() { [[ ! -e /proc/$1/stat || $(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null) =~ ^Z?$ ]]; }

# start COMMAND…: a control plane around a shell command that says where it is;
# sets wrapper to the pid and dir to the directory of the servers.
start() {
  told=$scratch/$name.told
  # shellcheck disable=SC2016 # for the inner shell
  tools/control-plane run -- sh -c 'dirname "$KUBECONFIG" >"$0.new"; mv "$0.new" "$0"; '"$1" "$told" 2>"$scratch/$name.log" &
  wrapper=$!
  until_within 120 told
  dir=$(cat "$told")
  [[ $(processes_of "$dir") == *cmdline* ]] || fail "sees no process of $dir: the test proves nothing"
}

# ended STATUS
ended() {
  local status=0
  until_within 60 over "$wrapper"
  # Its own words about a killed job are no news.
  { wait "$wrapper" || status=$?; } 2>/dev/null
  [[ $status -eq $1 ]] || fail "status $status instead of $1"
}

status_and_orphans() {
  start 'kubectl get --raw /readyz >/dev/null && (sleep 1000 & true) && exit 7'
  ended 7
  nothing_left "$dir" || fail "left: $(processes_of "$dir")"
}

signal() {
  start 'sleep 1000 & wait'
  kill "-$1" "$wrapper"
  ended "$2"
  nothing_left "$dir" || fail "left: $(processes_of "$dir")"
}

wrapper_killed() {
  start 'trap "" TERM HUP INT; sleep 1000 & wait'
  kill -KILL "$wrapper"
  ended 137
  until_within 20 nothing_left "$dir"
}

keeper_killed() {
  start 'sleep 1000 & wait'
  local keeper server
  server=$(grep -lszxFf <(printf '%s\n' "$dir/pki") /proc/[0-9]*/cmdline)
  keeper=$(awk '$1 == "PPid:" { print $2 }' "${server%/cmdline}/status")
  kill -KILL "$keeper"
  until_within 20 test ! -e "$server"
  kill -TERM "$wrapper"
  ended 143
  nothing_left "$dir" || fail "left: $(processes_of "$dir")"
}

failed_start() {
  local assets=$scratch/assets status=0
  mkdir "$assets"
  printf '#!/bin/sh\necho "the reason why it ends" >&2; exit 1\n' >"$assets/kube-apiserver"
  printf '#!/bin/sh\nexec sleep 1000\n' | tee "$assets/etcd" >"$assets/kubectl"
  chmod +x "$assets"/*
  KUBEBUILDER_ASSETS=$assets TMPDIR=$scratch tools/control-plane run -- touch "$scratch/ran" 2>"$scratch/$name.log" || status=$?
  [[ $status -eq 1 ]] || fail "status $status"
  grep -q 'the reason why it ends' "$scratch/$name.log" || fail "does not say why: $(cat "$scratch/$name.log")"
  [[ ! -e $scratch/ran ]] || fail "ran the command"
  [[ -z $(processes_of "$scratch/herald-control-plane") ]] || fail "left: $(processes_of "$scratch/herald-control-plane")"
}

audit_log() {
  # shellcheck disable=SC2016 # for the inner shell
  tools/control-plane run -- bash -ec '
    kubectl create serviceaccount nobody >/dev/null
    ! kubectl --token "$(kubectl create token nobody)" get secrets 2>/dev/null
    # The line may come after the answer.
    for ((tries = 0; tries < 100; tries++)); do
      [[ $(cat "$HERALD_TEST_AUDIT_LOG") != *\"code\":403* ]] || break
      read -r -t 0.05 _ <> <(:) || true
    done
    cat "$HERALD_TEST_AUDIT_LOG"' >"$scratch/$name.told" 2>"$scratch/$name.log" || fail "$(cat "$scratch/$name.log")"
  grep -q '"username":"system:serviceaccount:default:nobody".*"code":403' "$scratch/$name.told" ||
    fail "says nothing of a refused request: $(cat "$scratch/$name.told")"
  ! grep -q '"username":"admin"' "$scratch/$name.told" || fail "says what the administrator did"
}

named_cluster() {
  local kubeconfig=$scratch/kubeconfig
  : >"$kubeconfig"
  HERALD_TEST_KUBECONFIG=$kubeconfig KUBEBUILDER_ASSETS=/nonexistent PATH=$scratch/bin:$PATH \
    tools/control-plane run -- bash -c "[[ \$KUBECONFIG == $kubeconfig && ! -v HERALD_TEST_AUDIT_LOG ]]" 2>/dev/null
}

# run NAME FUNCTION ARGUMENT…: in the background, since each waits for a start
jobs=()
run() {
  name=$1
  shift
  ("$@" && printf 'ok %s\n' "$name") &
  jobs+=("$!")
}

mkdir "$scratch/bin"
printf '#!/bin/sh\n' >"$scratch/bin/kubectl" && chmod +x "$scratch/bin/kubectl"
# One build, not one for each.
tools/control-plane build >/dev/null

run gives-the-status-and-ends-orphans status_and_orphans
run ends-on-SIGTERM signal TERM 143
# What a process was told to ignore when it began, as by nohup, no script can undo.
ignored() { [[ $(trap -p "$1") == *"''"* ]]; }
if ignored HUP; then
  printf 'skipped ends-on-SIGHUP: SIGHUP is ignored here\n'
else
  run ends-on-SIGHUP signal HUP 129
fi
run ends-when-killed wrapper_killed
run servers-end-with-their-keeper keeper_killed
run says-why-it-cannot-start failed_start
run logs-what-service-accounts-do audit_log
run uses-a-named-cluster-and-starts-nothing named_cluster
result=0
for job in "${jobs[@]}"; do wait "$job" || result=1; done

# Ctrl-C needs a terminal of its own: script gives it one where it is installed.
if ignored INT; then
  printf 'skipped ends-on-Ctrl-C: SIGINT is ignored here\n'
elif command -v script >/dev/null; then
  name=ends-on-Ctrl-C
  told=$scratch/$name.told
  # shellcheck disable=SC2016 # for the inner shell
  printf '%s\n' 'dirname "$KUBECONFIG" >"$0.new"; mv "$0.new" "$0"; sleep 1000' >"$scratch/$name.command"
  mkfifo "$scratch/keys"
  # Without job control a job in the background would have SIGINT ignored for good.
  set -m
  script -qec "tools/control-plane run -- sh -c '$(cat "$scratch/$name.command")' '$told'" /dev/null <"$scratch/keys" >"$scratch/$name.log" &
  terminal=$!
  set +m
  exec 8>"$scratch/keys"
  until_within 120 told
  dir=$(cat "$told")
  printf '\003' >&8
  until_within 20 nothing_left "$dir" && printf 'ok %s\n' "$name"
  exec 8>&-
  wait "$terminal" || true
fi
exit "$result"
