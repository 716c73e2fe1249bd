"""Tries any MCP server against the rules of its protocols, from outside, changing nothing in it."""
