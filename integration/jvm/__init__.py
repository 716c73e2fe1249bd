"""Programs of the JVM that register themselves in ZooKeeper, as their frameworks do it."""
