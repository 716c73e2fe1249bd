"""One module for each way of writing services into ZooKeeper: paths and bytes to instances, pure."""
