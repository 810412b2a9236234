"""What dies in the life of a cluster, one test each, with its time to recovery."""
