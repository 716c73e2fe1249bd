"""Services registered in Consul."""
