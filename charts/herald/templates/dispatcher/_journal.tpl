{{/* Where the journal is, and what that allows. */}}

{{/* Refuses what would not work, and says what to write instead. */}}
{{- define "herald.checkDispatcher" -}}
{{- $dispatcher := .Values.dispatcher -}}
{{- $replicas := toString $dispatcher.replicas -}}
{{- $nats := .Values.journal.nats -}}
{{- if eq .Values.journal.type "embedded" -}}
{{- if not (has $replicas (list "" "1")) -}}
{{- fail (printf "dispatcher.replicas is %s, but one process alone holds the volume of journal.type=embedded: leave it out, or have journal.type=nats and journal.nats.servers" $replicas) -}}
{{- end -}}
{{- if $dispatcher.autoscaling.enabled -}}
{{- fail "dispatcher.autoscaling is enabled, but one process alone holds the volume of journal.type=embedded: leave it out, or have journal.type=nats and journal.nats.servers" -}}
{{- end -}}
{{- if $nats.servers -}}
{{- fail "journal.nats.servers is set, but journal.type is embedded: write journal.type=nats, or leave the servers out" -}}
{{- end -}}
{{- else -}}
{{- if not $nats.servers -}}
{{- fail "journal.type=nats needs journal.nats.servers, such as [tls://nats.nats.svc:4222]; NATS is not part of this chart: docs/operations.md says how to install it" -}}
{{- end -}}
{{- if and $nats.credentialsSecret.name $nats.nkeySecret.name -}}
{{- fail "journal.nats.credentialsSecret and journal.nats.nkeySecret are both named: leave one of them out" -}}
{{- end -}}
{{- if and $nats.tls.caConfigMap.name $nats.tls.caSecret.name -}}
{{- fail "journal.nats.tls.caConfigMap and journal.nats.tls.caSecret are both named: leave one of them out" -}}
{{- end -}}
{{- if or $nats.tls.caConfigMap.name $nats.tls.caSecret.name $nats.tls.clientSecret.name -}}
{{- range $nats.servers -}}
{{- if not (hasPrefix "tls://" .) -}}
{{- fail (printf "journal.nats.tls names certificates, but at %s whoever answers may do without TLS: write tls:// in journal.nats.servers" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $nats.syncUnchecked $nats.monitoring -}}
{{- fail "journal.nats.monitoring says where NATS is asked how it syncs, and journal.nats.syncUnchecked that it is not: leave one of them out" -}}
{{- end -}}
{{- if and (not $nats.syncUnchecked) (not (include "herald.natsMonitoring" . | fromYamlArray)) -}}
{{- fail (printf "where the servers behind %s say how they sync cannot be told from their address: write journal.nats.monitoring, such as [http://nats-headless.nats.svc:8222], a name with the addresses of all of them; or, if what was accepted may be lost when the power fails, journal.nats.syncUnchecked=true" (first $nats.servers)) -}}
{{- end -}}
{{- with $dispatcher.autoscaling -}}
{{- if and .enabled (ne $replicas "") -}}
{{- fail "dispatcher.replicas is set and dispatcher.autoscaling is enabled, which says how many by minReplicas and maxReplicas: leave one of them out" -}}
{{- end -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail (printf "dispatcher.autoscaling.minReplicas is %d, more than maxReplicas, %d" (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The volumes with the files for NATS, a list that may be empty. Each is mounted at /etc/herald and its name. */}}
{{- define "herald.natsFiles" -}}
{{- $files := list -}}
{{- if eq .Values.journal.type "nats" -}}
{{- with .Values.journal.nats -}}
{{- range $name, $secret := dict "nats-credentials" .credentialsSecret "nats-nkey" .nkeySecret "nats-ca" .tls.caSecret -}}
{{- if $secret.name -}}
{{- $items := list (dict "key" $secret.key "path" $secret.key) -}}
{{- $files = append $files (dict "name" $name "secret" (dict "secretName" $secret.name "items" $items)) -}}
{{- end -}}
{{- end -}}
{{- with .tls.caConfigMap -}}
{{- if .name -}}
{{- $items := list (dict "key" .key "path" .key) -}}
{{- $files = append $files (dict "name" "nats-ca" "configMap" (dict "name" .name "items" $items)) -}}
{{- end -}}
{{- end -}}
{{- with .tls.clientSecret.name -}}
{{- $items := list (dict "key" "tls.crt" "path" "tls.crt") (dict "key" "tls.key" "path" "tls.key") -}}
{{- $files = append $files (dict "name" "nats-client" "secret" (dict "secretName" . "items" $items)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}

{{/* Where the servers of NATS say how they sync: a list that is empty where nobody asks, or nobody knows. */}}
{{- define "herald.natsMonitoring" -}}
{{- $nats := .Values.journal.nats -}}
{{- $urls := $nats.monitoring -}}
{{- if not (or $urls $nats.syncUnchecked) -}}
{{- range $nats.servers -}}
{{- $host := regexReplaceAll "^[a-z]+://(.+?)(:[0-9]+)?$" . "${1}" -}}
{{- $one := regexReplaceAll "^([^.]+)\\.([^.]+\\.svc(\\..+)?)$" $host "${1}-headless.${2}" -}}
{{- if gt (len $nats.servers) 1 -}}
{{- $urls = append $urls (printf "http://%s:8222" $host) -}}
{{- else if ne $one $host -}}
{{- $urls = list (printf "http://%s:8222" $one) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $urls -}}
{{- end -}}

{{/* The flags of a journal on NATS. */}}
{{- define "herald.natsArgs" -}}
{{- with .Values.journal.nats -}}
- --journal-nats={{ join "," .servers }}
- --nats-prefix={{ .prefix }}
- --nats-replicas={{ int64 .replicas }}
{{- if .syncUnchecked }}
- --nats-sync-unchecked
{{- else }}
- --nats-monitoring={{ include "herald.natsMonitoring" $ | fromYamlArray | join "," }}
{{- end }}
{{- if .existingStreams }}
- --nats-existing-streams
{{- end }}
{{- if .credentialsSecret.name }}
- --nats-credentials=/etc/herald/nats-credentials/{{ .credentialsSecret.key }}
{{- end }}
{{- if .nkeySecret.name }}
- --nats-nkey=/etc/herald/nats-nkey/{{ .nkeySecret.key }}
{{- end }}
{{- if .tls.caConfigMap.name }}
- --nats-ca=/etc/herald/nats-ca/{{ .tls.caConfigMap.key }}
{{- else if .tls.caSecret.name }}
- --nats-ca=/etc/herald/nats-ca/{{ .tls.caSecret.key }}
{{- end }}
{{- if .tls.clientSecret.name }}
- --nats-cert=/etc/herald/nats-client/tls.crt
- --nats-key=/etc/herald/nats-client/tls.key
{{- end }}
{{- end -}}
{{- end -}}

{{/* The ports of the servers of NATS and of their monitoring, each once: a list that is empty with another journal. */}}
{{- define "herald.natsPorts" -}}
{{- $ports := list -}}
{{- if eq .Values.journal.type "nats" -}}
{{- range concat .Values.journal.nats.servers (include "herald.natsMonitoring" . | fromYamlArray) -}}
{{- $authority := regexReplaceAll "^[a-z]+://([^/]+).*$" . "${1}" -}}
{{- $usual := dict "http" "80" "https" "443" -}}
{{- $port := default "4222" (get $usual (regexFind "^[a-z]+" .)) -}}
{{- $ports = append $ports (int (regexFind ":[0-9]+$" $authority | trimPrefix ":" | default $port)) -}}
{{- end -}}
{{- end -}}
{{- toYaml (uniq $ports) -}}
{{- end -}}
