"""Adapters: code that watches one kind of registry and says what it holds."""
