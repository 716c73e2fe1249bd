"""Serves snapshots to istiod: MCP over xDS."""
