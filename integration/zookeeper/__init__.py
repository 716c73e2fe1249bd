"""Real ZooKeeper servers, from Debian's package."""
