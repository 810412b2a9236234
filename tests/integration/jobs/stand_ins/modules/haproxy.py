"""Stand-in for the product's haproxy module: the API server is up."""


def wait_up(socket_path, names=(), deadline_s=60):
    return ["job-m"]
