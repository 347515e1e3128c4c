{{/* Which requests admission policies check: not the operator's, which copies what a Qwen3Deployment says into a Qwen3Model;
     nothing on its way out; and only where the spec changes, as labels, annotations and owners are anybody's. */}}
{{- define "qwen3-operator.policyConditions" -}}
- name: not-the-operator
  expression: request.userInfo.username != 'system:serviceaccount:{{ .Release.Namespace }}:{{ include "qwen3-operator.serviceAccount" . }}'
- name: not-on-its-way-out
  expression: "!has(object.metadata.deletionTimestamp)"
- name: spec-changes
  expression: oldObject == null || object.spec != oldObject.spec
{{- end -}}

{{/* CEL: whether a value is in a list, whose entries may end in '*': (list EXPRESSION ENTRIES) */}}
{{- define "qwen3-operator.allowed" -}}
{{- $value := index . 0 -}}
{{- $tests := list -}}
{{- range index . 1 -}}
{{- if hasSuffix "*" . -}}
{{- $tests = append $tests (printf "%s.startsWith('%s')" $value (trimSuffix "*" .)) -}}
{{- else -}}
{{- $tests = append $tests (printf "%s == '%s'" $value .) -}}
{{- end -}}
{{- end -}}
{{- join " || " $tests -}}
{{- end -}}
