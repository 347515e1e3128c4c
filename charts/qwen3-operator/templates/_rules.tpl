{{/* What the operator does in a namespace that it serves. Server-side apply is the verb patch, and create for a new object. The cluster
     tests run with exactly these rights: a refusal fails them, and so does a right that none of them uses. */}}
{{- define "qwen3-operator.rules" -}}
- apiGroups: [serving.qwen3.dev]
  resources: [qwen3deployments, qwen3batches]
  verbs: [list, watch]
- apiGroups: [serving.qwen3.dev]
  resources: [qwen3models]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [serving.qwen3.dev]
  resources: [qwen3deployments/status, qwen3models/status, qwen3batches/status]
  verbs: [patch]
- apiGroups: [serving.qwen3.dev] # ownerReferences with blockOwnerDeletion, where that admission plugin is on (OpenShift)
  resources: [qwen3deployments/finalizers, qwen3models/finalizers, qwen3batches/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps] # which pods are servers; what those before were made from, to go back to
  resources: [replicasets]
  verbs: [list]
- apiGroups: [""]
  resources: [services, persistentvolumeclaims]
  verbs: [get, list, watch, create, patch]
{{- if .Values.gateway.enabled }}
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
{{- if .Values.gateway.endpointPicker }}
- apiGroups: [inference.networking.k8s.io]
  resources: [inferencepools]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
{{- end }}
{{- if .Values.front.enabled }}
- apiGroups: [discovery.k8s.io] # the front behind a Service
  resources: [endpointslices]
  verbs: [get, list, watch, create, patch]
- apiGroups: [discovery.k8s.io] # addresses of pods in them, where that admission plugin is on (OpenShift)
  resources: [endpointslices/restricted]
  verbs: [create]
{{- end }}
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""] # why a server or a download ended
  resources: [pods/log]
  verbs: [get]
{{- if .Values.autoscaling.enabled }}
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
{{- if .Values.rbac.readSecrets }}
- apiGroups: [""] # only those that an object names: there is no list
  resources: [secrets]
  verbs: [get]
{{- end }}
- apiGroups: [""] # a batch's runner and a server's middleware travel in one
  resources: [configmaps]
  verbs: [get, create, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [get, list, create, update]
{{- end -}}

{{/* What it reads of the cluster as a whole. */}}
{{- define "qwen3-operator.clusterRules" -}}
- apiGroups: [""]
  resources: [nodes] # the kinds of GPU
  verbs: [list, watch]
- apiGroups: [storage.k8s.io]
  resources: [storageclasses]
  verbs: [get]
{{- end -}}
