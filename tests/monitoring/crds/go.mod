// The Prometheus Operator, for its CustomResourceDefinitions alone: nothing of it is built.
module qwen3.dev/tests/monitoring/crds

go 1.24.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
