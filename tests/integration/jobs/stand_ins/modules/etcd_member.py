"""Stand-in for the product's etcd_member module: one member, which is well."""


def standing():
    return [{"name": "job-m", "id": "a", "learner": False, "peer_urls": [], "healthy": True}]
