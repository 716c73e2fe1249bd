"""A real kube-apiserver on loopback, with its etcd in the same process and Istio's CRDs."""
