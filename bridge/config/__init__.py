"""The configuration: models, loading, JSON Schema."""
