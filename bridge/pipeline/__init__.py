"""From what registries say to the snapshot of Istio resources."""
