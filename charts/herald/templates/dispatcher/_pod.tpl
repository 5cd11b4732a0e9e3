{{/* The dispatcher's pod, which is the same wherever the journal is, but for what belongs to the journal. */}}
{{- define "herald.dispatcherPod" -}}
{{- include "herald.checkDispatcher" . }}
{{- $it := dict "root" . "component" "dispatcher" -}}
{{- $values := .Values.dispatcher -}}
{{- $journal := .Values.journal -}}
{{- $nats := eq $journal.type "nats" -}}
metadata:
  {{- include "herald.podMetadata" $it | nindent 2 }}
spec:
  {{- include "herald.podSpec" $it | nindent 2 }}
  {{- if $nats }}
  {{- with include "herald.spread" $it }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- end }}
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  containers:
    - {{ include "herald.container" $it | nindent 6 | trim }}
      args:
        - dispatcher
        {{- include "herald.sharedArgs" . | nindent 8 }}
        - --listen=[::]:8443
        - --tls-cert=/etc/herald/tls/tls.crt
        - --tls-key=/etc/herald/tls/tls.key
        - --audience={{ include "herald.audience" . }}
        - --auth-cache={{ .Values.ingest.authCache }}
        - --max-connections={{ int64 .Values.ingest.maxConnections }}
        - --quota-events-per-second={{ int64 .Values.quotas.eventsPerSecond }}
        - --quota-bytes-per-second={{ int64 .Values.quotas.bytesPerSecond }}
        {{- if ne (toString .Values.quotas.bytesQueued) "" }}
        - --quota-bytes-queued={{ int64 .Values.quotas.bytesQueued }}
        {{- end }}
        - --quota-annotations={{ .Values.quotas.annotations }}
        {{- if $nats }}
        {{- include "herald.natsArgs" . | nindent 8 }}
        {{- else }}
        - --journal-dir=/var/lib/herald/journal
        {{- end }}
        - --retention={{ $journal.retention }}
        - --max-backlog={{ int64 $journal.maxBacklog }}
        - --max-journal-bytes={{ int64 $journal.maxBytes }}
        - --max-dead-letter-bytes={{ int64 $journal.deadLetters.maxBytes }}
        - --max-dead-letter-age={{ $journal.deadLetters.maxAge }}
        - --max-attempt-bytes={{ int64 $journal.attempts.maxBytes }}
        - --max-attempt-age={{ $journal.attempts.maxAge }}
        - --max-kept-bytes={{ int64 $journal.keptEvents.maxBytes }}
        - --max-kept-age={{ $journal.keptEvents.maxAge }}
        {{- if not $nats }}
        - --journal-reserve={{ int64 $journal.reserve }}
        {{- end }}
        - --dedupe-window={{ $journal.dedupeWindow }}
        - --dedupe-ids={{ int64 $journal.dedupeIds }}
        - --max-in-flight={{ int64 $values.maxInFlight }}
        - --circuit-threshold={{ int64 $values.circuitThreshold }}
        - --drain-timeout={{ $values.drainTimeout }}
        - --max-view-age={{ $values.maxViewAge }}
        {{- with $values.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - {name: ingest, containerPort: 8443}
        - {name: metrics, containerPort: 9090}
      {{- if $nats }}
      # For a moment after its end has begun a pod is still sent connections, which another would have taken.
      lifecycle: {preStop: {sleep: {seconds: 3}}}
      {{- end }}
      volumeMounts:
        {{- if not $nats }}
        - {name: journal, mountPath: /var/lib/herald}
        {{- end }}
        - {name: tls, mountPath: /etc/herald/tls, readOnly: true}
        {{- range include "herald.natsFiles" . | fromYamlArray }}
        - {name: {{ .name }}, mountPath: /etc/herald/{{ .name }}, readOnly: true}
        {{- end }}
        {{- with include "herald.outboundMounts" . | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    # Until the controller has made it, the pod waits for this Secret.
    - name: tls
      secret:
        secretName: {{ include "herald.tlsSecretName" . }}
        items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}]
    {{- range include "herald.natsFiles" . | fromYamlArray }}
    - {{ toYaml . | nindent 6 | trim }}
    {{- end }}
    {{- if not $nats }}
    {{- with $journal.persistence.existingClaim }}
    - name: journal
      persistentVolumeClaim: {claimName: {{ . }}}
    {{- end }}
    {{- end }}
    {{- with include "herald.outboundVolumes" . | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
