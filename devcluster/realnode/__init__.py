"""One real node on this machine: kubelet, containerd, runc, CNI bridge, kube-proxy, CoreDNS, dynamic volumes."""
