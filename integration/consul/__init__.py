"""Real Consul servers and agents for the tests."""
