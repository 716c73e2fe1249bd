"""The Kubernetes output: the published resources as objects of an API server, owned and kept true."""
