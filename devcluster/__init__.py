"""A real Kubernetes on this machine for tests and for the demo. README.md in this folder is the manual."""

from devcluster.clusters import Cluster, all_clusters, cluster, end_orphans
from devcluster.paths import DevclusterError
from devcluster.spec import ClusterSpec
from devcluster.stages import FakeDownload

__all__ = ["Cluster", "ClusterSpec", "DevclusterError", "FakeDownload", "all_clusters", "cluster", "end_orphans"]
