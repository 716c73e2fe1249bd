"""Services registered in ZooKeeper: Dubbo, Spring Cloud and Curator, ServerSets, Nerve, plain JSON."""
