"""Stand-in for the product's node_status module: a cluster of which one worker is not Ready."""

VERSIONS = {"version": "v1.36.4", "runtime": "cri-o://1.36.3"}


def facts(cluster=None):
    role = __pillar__["saltern"]["node"]["role"]
    told = {"role": role, "os": "Debian", "kernel": "6.1", "errors": {}}
    told |= {"installed": {}, "drift": [], "certificates": []}
    # By the product's own function: what a master makes of the definition has to be what a node makes of its pillar.
    pillar = __salt__["last_apply.fingerprint"](__pillar__["saltern"])
    told["applied"] = {"time": "2026-01-31T12:00:00Z", "succeeded": True, "failed": [], "pillar": pillar}
    if role == "load_balancer":
        told |= {"haproxy": "2.6.12", "backends": []}
    if role == "control_plane":
        told |= {"etcd": {"id": "a", "leader": "a", "version": "3.6.8", "errors": []}, "cluster": _cluster()}
        told["members"] = [{"name": "job-m", "id": "a", "learner": False, "healthy": True, "reason": ""}]
    return told


def _cluster():
    nodes = {
        "job-m": {"ready": True, "reason": "", **VERSIONS},
        "job-w": {"ready": False, "reason": "no CNI", **VERSIONS},
    }
    charts = [
        {"name": "cilium", "version": "1.20.1", "status": "deployed"},
        {"name": "metallb", "version": "0.15.3", "status": "deployed"},
    ]
    return {"nodes": nodes, "components": {}, "pods": {"total": 1, "not_ready": []}, "charts": charts, "endpoint": ""}
