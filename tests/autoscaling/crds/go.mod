// KEDA, for its CustomResourceDefinitions alone: nothing of it is built.
module qwen3.dev/tests/autoscaling/crds

go 1.24.0

require github.com/kedacore/keda/v2 v2.21.0
