"""A real istiod on loopback: starting it, and seeing what it holds and what it tells proxies."""
