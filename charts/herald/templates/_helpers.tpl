{{/* The names of things. */}}

{{- define "herald.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "herald.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "herald.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "herald.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Of what has no namespace, so that two releases of one name do not meet. */}}
{{- define "herald.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "herald.fullname" .) -}}
{{- end -}}

{{- define "herald.serviceAccountName" -}}
{{- $account := (index .root.Values .component).serviceAccount -}}
{{- $own := printf "%s-%s" (include "herald.fullname" .root) .component -}}
{{- if $account.create }}{{ default $own $account.name }}{{ else }}{{ default "default" $account.name }}{{ end -}}
{{- end -}}

{{- define "herald.tlsSecretName" -}}
{{- default (printf "%s-tls" (include "herald.fullname" .)) .Values.ingest.tls.secretName -}}
{{- end -}}

{{- define "herald.ownCertificate" -}}
{{- if not .Values.ingest.tls.secretName }}true{{ end -}}
{{- end -}}

{{- define "herald.discoversCluster" -}}
{{- $discover := .Values.outbound.discoverCluster -}}
{{- if eq (toString $discover) "auto" }}{{ if not .Values.namespaces }}true{{ end }}{{ else if $discover }}true{{ end -}}
{{- end -}}

{{/* Whether its certificates take rights beyond the namespaces that are named. */}}
{{- define "herald.publishesBeyond" -}}
{{- if and (include "herald.ownCertificate" .) (or .Values.ingest.tls.clusterTrustBundle (not .Values.namespaces)) }}true{{ end -}}
{{- end -}}

{{- define "herald.audience" -}}
{{- default (printf "herald/%s" .Release.Namespace) .Values.ingest.audience -}}
{{- end -}}

{{- define "herald.url" -}}
https://{{ include "herald.fullname" . }}.{{ .Release.Namespace }}.svc{{ if ne (int .Values.service.port) 443 }}:{{ .Values.service.port }}{{ end }}
{{- end -}}

{{- define "herald.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{/* Labels and annotations. */}}

{{/* What selectors use: it can never change. Takes root and component. */}}
{{- define "herald.selectorLabels" -}}
app.kubernetes.io/name: {{ include "herald.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Takes root, and component for what belongs to one. */}}
{{- define "herald.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "herald.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: herald
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Takes root, and annotations beside those of every object. */}}
{{- define "herald.annotations" -}}
{{- with merge (dict) (default (dict) .annotations) .root.Values.commonAnnotations -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* The metadata of an object. Takes root, name; maybe component, annotations, labels, namespace ("" for none). */}}
{{- define "herald.metadata" -}}
name: {{ .name }}
{{- if hasKey . "namespace" }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
{{- else }}
namespace: {{ .root.Release.Namespace }}
{{- end }}
labels:
  {{- include "herald.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with include "herald.annotations" . }}
{{ . }}
{{- end }}
{{- end -}}

{{/* What the pods of both components have. Takes root and component. */}}

{{- define "herald.podMetadata" -}}
{{- $values := index .root.Values .component -}}
labels:
  {{- /* Without the chart's version, which would replace every pod with each chart. */}}
  {{- include "herald.selectorLabels" . | nindent 2 }}
  app.kubernetes.io/part-of: herald
  {{- with merge (dict) $values.podLabels .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  kubectl.kubernetes.io/default-container: {{ .component }}
  {{- with merge (dict) $values.podAnnotations .root.Values.commonAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "herald.podSpec" -}}
{{- $values := index .root.Values .component -}}
serviceAccountName: {{ include "herald.serviceAccountName" . }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
enableServiceLinks: false
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* How the pods of one component are spread; empty if nothing is said of it. */}}
{{- define "herald.spread" -}}
{{- $it := . -}}
{{- with (index .root.Values .component).topologySpreadConstraints -}}
topologySpreadConstraints:
  {{- range . }}
  - {{ toYaml (merge (dict) . (dict "labelSelector" (dict "matchLabels" (fromYaml (include "herald.selectorLabels" $it))))) | nindent 4 | trim }}
  {{- end }}
{{- end -}}
{{- end -}}

{{- define "herald.container" -}}
{{- $values := index .root.Values .component -}}
name: {{ .component }}
image: {{ include "herald.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- with .root.Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
env:
  - name: POD_NAME
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  - name: POD_NAMESPACE
    valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
  {{- with $values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
# Opening a large journal takes a while, and there is nothing to restart it for.
startupProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 2
  failureThreshold: 150
livenessProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 2
  timeoutSeconds: 5
{{- end -}}

{{/* The flags of both components. */}}
{{- define "herald.sharedArgs" -}}
- --log={{ .Values.log.level }}
- --log-format={{ .Values.log.format }}
- --metrics-listen=[::]:9090
{{- range .Values.namespaces }}
- --namespace={{ . }}
{{- end }}
{{- range .Values.outbound.allow }}
- --outbound-allow={{ . }}
{{- end }}
{{- range $namespace, $allowed := .Values.outbound.allowByNamespace }}
{{- range $allowed }}
- --outbound-allow={{ $namespace }}={{ . }}
{{- end }}
{{- end }}
{{- range .Values.outbound.forbid }}
- --outbound-forbid={{ . }}
{{- end }}
{{- range .Values.outbound.nat64 }}
- --outbound-nat64={{ . }}
{{- end }}
{{- with .Values.outbound.perDestination }}
- --max-in-flight-per-destination={{ int64 .maxInFlight }}
- --max-per-second-per-destination={{ int64 .maxPerSecond }}
- --max-connects-per-second-per-destination={{ int64 .maxConnectsPerSecond }}
{{- end }}
{{- with .Values.outbound.proxy }}
{{- if .url }}
- --outbound-proxy={{ .url }}
{{- if .resolves }}
- --outbound-proxy-resolves
{{- end }}
{{- if .credentialsSecret.name }}
- --outbound-proxy-credentials=/etc/herald/proxy/{{ .credentialsSecret.key }}
{{- end }}
{{- end }}
{{- end }}
- --discover-cluster-networks={{ if include "herald.discoversCluster" . }}true{{ else }}false{{ end }}
{{- with .Values.outbound.clusterDomain }}
- --cluster-domain={{ . }}
{{- end }}
{{- range .Values.outbound.nameServers }}
- --outbound-name-server={{ . }}
{{- end }}
{{- if .Values.outbound.extraRoots.configMap }}
- --outbound-extra-roots=/etc/herald/extra-roots/{{ .Values.outbound.extraRoots.key }}
{{- end }}
{{- end -}}

{{/* The files that outbound requests need; empty if there are none. */}}
{{- define "herald.outboundVolumes" -}}
{{- with .Values.outbound.extraRoots.configMap -}}
- name: extra-roots
  configMap:
    name: {{ . }}
{{ end -}}
{{- if include "herald.proxySecret" . -}}
- name: proxy
  secret:
    secretName: {{ include "herald.proxySecret" . }}
{{ end -}}
{{- end -}}

{{- define "herald.outboundMounts" -}}
{{- if .Values.outbound.extraRoots.configMap -}}
- name: extra-roots
  mountPath: /etc/herald/extra-roots
  readOnly: true
{{ end -}}
{{- if include "herald.proxySecret" . -}}
- name: proxy
  mountPath: /etc/herald/proxy
  readOnly: true
{{ end -}}
{{- end -}}

{{/* The Secret with the egress proxy's credentials; empty if there is none. */}}
{{- define "herald.proxySecret" -}}
{{- if .Values.outbound.proxy.url }}{{ .Values.outbound.proxy.credentialsSecret.name }}{{ end -}}
{{- end -}}
