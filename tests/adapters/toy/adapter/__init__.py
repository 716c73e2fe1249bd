"""A registry that lists its services at one address: the example of how an adapter is written."""
