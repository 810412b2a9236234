"""A cluster with two load balancers that share an address, which grows from three control-plane nodes to five."""
