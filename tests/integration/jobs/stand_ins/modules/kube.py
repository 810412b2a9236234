"""Stand-in for the product's kube module."""


def wait_nodes_ready(names, deadline_s):
    return f"{len(names)} nodes Ready"


def wait_load_balancer(service, namespace, deadline_s):
    return __opts__["test_service"]


def nodes():
    return {
        "job-m": {"ready": True, "version": "v1.36.4"},
        "job-w": {"ready": False, "reason": "no CNI", "version": "v1.36.4"},
    }


def etcd_members():
    return [{"name": "job-m", "learner": False}]
