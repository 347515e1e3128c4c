{{- define "qwen3-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "qwen3-operator.fullname" -}}
{{- $name := include "qwen3-operator.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "qwen3-operator.selector" -}}
app.kubernetes.io/name: {{ include "qwen3-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "qwen3-operator.labels" -}}
{{ include "qwen3-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "qwen3-operator.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "qwen3-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The front: its name, and by what its pods are found. */}}
{{- define "qwen3-operator.frontName" -}}
{{- printf "%s-front" (include "qwen3-operator.fullname" .) -}}
{{- end -}}

{{- define "qwen3-operator.frontSelector" -}}
app.kubernetes.io/name: {{ printf "%s-front" (include "qwen3-operator.name" .) | trunc 63 }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "qwen3-operator.frontLabels" -}}
{{ include "qwen3-operator.frontSelector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: front
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* The registry that everything is pulled from, where there is one for all: a mirror. */}}
{{- define "qwen3-operator.imageRegistry" -}}
{{- default (dig "imageRegistry" "" (default dict .Values.global)) .Values.imageRegistry | trimSuffix "/" -}}
{{- end -}}

{{/* An image by digest, or by tag: (list $ KEY-OF-THE-VALUES NAME). imageRegistry takes the place of the repository's host. */}}
{{- define "qwen3-operator.image" -}}
{{- $root := index . 0 -}}
{{- $image := get $root.Values (index . 1) -}}
{{- $registry := include "qwen3-operator.imageRegistry" $root -}}
{{- $repository := $image.repository -}}
{{- if $registry -}}
{{- $path := regexReplaceAll "^(localhost|[^/]*[.:][^/]*)/" (default (index . 2) $repository) "" -}}
{{- $repository = printf "%s/%s" $registry $path -}}
{{- end -}}
{{- if not $repository -}}
{{- fail (printf "%s.repository is not set: where is the image %s? A chart that `make release REGISTRY=…` made has it inside; with this one, name it, or imageRegistry for all images. docs/install.md says how" (index . 1) (index . 2)) -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Security of the operator's pod. A platform that chooses ids by itself refuses a pod that names others. */}}
{{- define "qwen3-operator.podSecurityContext" -}}
{{- $context := .Values.podSecurityContext -}}
{{- if eq .Values.settings.podIds "platform" -}}
{{- $context = omit $context "runAsUser" "runAsGroup" "fsGroup" -}}
{{- end -}}
{{- toYaml $context -}}
{{- end -}}

{{/* Ports of a NetworkPolicy through which the cluster's DNS is asked. */}}
{{- define "qwen3-operator.dnsPorts" -}}
{{- range .Values.dnsPorts }}
- {port: {{ . }}, protocol: UDP}
- {port: {{ . }}, protocol: TCP}
{{- end }}
{{- end -}}
