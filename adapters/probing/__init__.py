"""Active checks that can be wrapped around any adapter."""
