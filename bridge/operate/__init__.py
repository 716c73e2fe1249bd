"""What operators need around a running bridge: bootstrap files, checks of istiod, support bundles."""
