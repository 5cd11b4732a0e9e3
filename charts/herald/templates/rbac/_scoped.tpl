{{/*
One set of rules for what a component is to do in the namespaces that Herald serves: a ClusterRole for all of them, or
a Role in each that is named. Takes root, component and rules.
*/}}
{{- define "herald.scoped" -}}
{{- $fullname := include "herald.fullname" .root -}}
{{- $subject := dict "kind" "ServiceAccount" "name" (include "herald.serviceAccountName" .) "namespace" .root.Release.Namespace -}}
{{- if .root.Values.namespaces -}}
{{- $name := printf "%s:%s" (include "herald.clusterName" .root) .component -}}
{{- range $namespace := .root.Values.namespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  {{- include "herald.metadata" (merge (dict "name" $name "namespace" $namespace) $) | nindent 2 }}
rules:
  {{- $.rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  {{- include "herald.metadata" (merge (dict "name" $name "namespace" $namespace) $) | nindent 2 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ $name | quote }}}
subjects: [{{ toJson $subject }}]
{{- end }}
{{- else }}
{{- $name := printf "%s:%s" (include "herald.clusterName" .root) .component }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  {{- include "herald.metadata" (merge (dict "name" $name "namespace" "") .) | nindent 2 }}
rules:
  {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  {{- include "herald.metadata" (merge (dict "name" $name "namespace" "") .) | nindent 2 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ $name | quote }}}
subjects: [{{ toJson $subject }}]
{{- end }}
{{- end -}}
