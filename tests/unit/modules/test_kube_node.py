"""Nodes on their way out: what they carry, cordons told apart, drains that say what holds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from tests.unit.modules.member import Member

NODE = "saw-k8s-w-04"
# Standard error of kubectl 1.36.4, "drain NODE --ignore-daemonsets --delete-emptydir-data --timeout=8s", and on a node
# with a pod of its own.
HELD = """\
Warning: ignoring DaemonSet-managed Pods: kube-system/cilium-ks68t, metallb-system/metallb-speaker-tb2dc
error when evicting pods/"db-0" -n "shop" (will retry after 5s): Cannot evict pod as it would violate the pod's \
disruption budget.
There are pending pods in node "saw-k8s-w-04" when an error occurred: error when evicting pods/"db-0" -n "shop": \
global timeout reached: 8s
pod/db-0
error: unable to drain node "saw-k8s-w-04" due to error: error when evicting pods/"db-0" -n "shop": global timeout \
reached: 8s, continuing command...
There are pending nodes to be drained:
 saw-k8s-w-04
error when evicting pods/"db-0" -n "shop": global timeout reached: 8s
"""
ALONE = """\
error: unable to drain node "saw-k8s-w-04" due to error: cannot delete Pods that declare no controller (use --force to \
override): shop/shell, continuing command...
There are pending nodes to be drained:
 saw-k8s-w-04
cannot delete Pods that declare no controller (use --force to override): shop/shell
"""


def pod(name: str, owner: tuple[str, str] | None = None, **rest: Any) -> dict[str, Any]:
    """A running pod on the node; ``owner`` is (kind, name) of its controller."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": rest.pop("namespace", "default"),
        "labels": rest.pop("labels", {}),
    }
    metadata |= rest.pop("metadata", {})
    if owner:
        kind, of = owner
        metadata["ownerReferences"] = [
            {"apiVersion": "apps/v1", "kind": kind, "name": of, "controller": True, "uid": "1"}
        ]
    return {
        "metadata": metadata,
        "spec": {"nodeName": NODE, "volumes": rest.pop("volumes", [])},
        "status": {"phase": rest.pop("phase", "Running")},
    }


CORDON_MARK, EXCLUSION_MARK = "saltern/cordoned-by", "saltern/excluded-by"
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
# Two nodes of a real cluster, a control-plane node and a worker, as kubectl 1.36.4 gives them.
REAL = Path(__file__).parent / "captured" / "kubectl-1.36.4-nodes-pods.json"


def node(name: str = NODE, unschedulable: bool = False, ours: bool = False, ready: bool = True) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {}, "annotations": {CORDON_MARK: "saltern"} if ours else {}},
        "spec": {"unschedulable": True} if unschedulable else {},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "192.168.100.157"}],
            "conditions": [{"type": "Ready", "status": "True" if ready else "Unknown", "message": "Kubelet stopped"}],
            "nodeInfo": {"kubeletVersion": "v1.36.4"},
        },
    }


def budget(allowed: int, namespace: str = "default", **selector: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"minAvailable": 2, "selector": selector or {"matchLabels": {"app": "web"}}},
        "status": {"disruptionsAllowed": allowed, "currentHealthy": 2, "desiredHealthy": 2},
    }


WEB = pod("web-5d8f-a", ("ReplicaSet", "web-5d8f"), labels={"app": "web", "pod-template-hash": "5d8f"})


class Api(Member):
    """A control-plane node whose kubectl answers from lists of objects and notes what it was told to change."""

    def __init__(self, root: Path, **objects: list[dict[str, Any]]) -> None:
        super().__init__(root)
        self.salt |= {
            f"kube_node.{name}": function
            for name, function in vars(self._load("_modules", "kube_node")).items()
            if callable(function) and getattr(function, "__module__", "") == "_modules_kube_node" and name[0] != "_"
        }
        self.objects = root / "objects.json"
        self.know(**objects)

    def know(self, **objects: list[dict[str, Any]]) -> None:
        self.objects.write_text(json.dumps(objects))
        self.tool(
            "kubectl",
            f"""
words = sys.argv[1:]
known = json.loads(pathlib.Path({str(self.objects)!r}).read_text())
if words[0] == "get":
    items = known.get(words[1] if words[1] != "node" else "nodes", [])
    if len(words) > 2 and not words[2].startswith("--"):
        found = [item for item in items if item["metadata"]["name"] == words[2]]
        print(json.dumps(found[0]) if found else "")
    else:
        print(json.dumps({{"items": items}}))
elif words[0] == "drain":
    sys.stderr.write(known.get("drain", [""])[0])
    sys.exit(1 if known.get("drain") else 0)
""",
        )

    def changes(self) -> list[str]:
        """What kubectl was told to change, without its options."""
        calls = [[word for word in call["argv"][1:] if not word.startswith("--")] for call in self.calls("kubectl")]
        return [" ".join(call) for call in calls if call[0] != "get"]

    def patches(self) -> dict[str, dict[str, Any]]:
        """The merge patches of Nodes, by name; one each."""
        calls = [call["argv"][1:] for call in self.calls("kubectl") if call["argv"][1] == "patch"]
        given = {name: json.loads(patch.removeprefix("--patch=")) for _, _, name, _, patch, _ in calls}
        assert len(given) == len(calls) and all(call[3] == "--type=merge" for call in calls)
        return given

    def do(self, function: str, *args: Any, **kwargs: Any) -> Any:
        return self.salt[f"kube_node.{function}"](*args, **kwargs)


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(tmp_path, nodes=[node()])


# -- what a node carries


def test_pods_are_sorted_as_kubectl_drain_does(api: Api) -> None:
    sorts = {
        "moves": WEB,
        "alone": pod("shell"),
        "stays": pod("cilium-x", ("DaemonSet", "cilium")),
        "finished": pod("once", phase="Succeeded"),
    }
    assert {name: api.do("kind", item) for name, item in sorts.items()} == {name: name for name in sorts}
    static = pod("etcd-m-01", ("Node", "m-01"), metadata={"annotations": {"kubernetes.io/config.mirror": "ab"}})
    assert api.do("kind", static) == "stays"


def test_a_replica_set_of_a_deployment_is_named_by_it(api: Api) -> None:
    assert api.do("owner", WEB) == "Deployment web"
    assert api.do("owner", pod("a", ("ReplicaSet", "plain"))) == "ReplicaSet plain"
    assert api.do("owner", pod("db-0", ("StatefulSet", "db"))) == "StatefulSet db"


def test_what_a_node_carries_is_told_in_one_answer(api: Api) -> None:
    scratch = pod("db-0", ("StatefulSet", "db"), volumes=[{"name": "tmp", "emptyDir": {}}], labels={"app": "db"})
    local = {
        "metadata": {"name": "pv1"},
        "spec": {
            "claimRef": {"namespace": "default", "name": "data"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}]}
            ]}},
        },
    }  # fmt: skip
    shared = {"metadata": {"name": "pv2"}, "spec": {}}
    api.know(
        nodes=[node()],
        pods=[WEB, scratch, pod("shell"), pod("cilium-x", ("DaemonSet", "cilium"))],
        poddisruptionbudgets=[budget(0)],
        persistentvolumes=[local, shared],
    )
    told = api.do("standing", [NODE, "saw-k8s-w-99"])
    assert told[NODE] == {
        "registered": True, "ready": True, "reason": "Kubelet stopped", "role": "worker", "address": "192.168.100.157",
        "unschedulable": False, "alone": ["default/shell"], "stays": 1, "volumes": ["pv1 of default/data"],
        "moves": [
            {"namespace": "default", "name": "web-5d8f-a", "owner": "Deployment web", "empty_dir": False,
             "held": "PodDisruptionBudget web (2 pods healthy, 2 have to be)"},
            {"namespace": "default", "name": "db-0", "owner": "StatefulSet db", "empty_dir": True, "held": None},
        ],
    }  # fmt: skip
    assert told["saw-k8s-w-99"]["registered"] is False
    assert api.changes() == []


@pytest.mark.parametrize(
    ("of", "holds"),
    [
        (budget(0), True),
        (budget(1), False),
        (budget(0, namespace="other"), False),
        (budget(0, matchLabels={"app": "db"}), False),
        (budget(0, matchExpressions=[{"key": "app", "operator": "In", "values": ["web", "db"]}]), True),
        (budget(0, matchExpressions=[{"key": "app", "operator": "NotIn", "values": ["web"]}]), False),
        (budget(0, matchExpressions=[{"key": "tier", "operator": "DoesNotExist"}]), True),
        (budget(0, matchExpressions=[{"key": "tier", "operator": "Exists"}]), False),
    ],
)
def test_which_budget_holds_a_pod(api: Api, of: dict[str, Any], holds: bool) -> None:
    assert bool(api.do("held", WEB, [of])) is holds


def test_a_budget_without_selector_holds_none_and_an_empty_one_all(api: Api) -> None:
    assert api.do("selects", None, {"app": "web"}) is False
    assert api.do("selects", {}, {"app": "web"}) is True


# -- cordons


def test_a_cordon_comes_with_its_mark_in_one_request(api: Api) -> None:
    assert api.do("cordon", [NODE, "saw-k8s-w-99"]) == {NODE: "cordoned", "saw-k8s-w-99": "not registered"}
    assert api.patches() == {
        NODE: {"metadata": {"annotations": {CORDON_MARK: "saltern"}}, "spec": {"unschedulable": True}}
    }


def test_an_operators_own_cordon_is_left_to_him(api: Api) -> None:
    api.know(nodes=[node(unschedulable=True)])
    assert api.do("cordon", [NODE]) == {NODE: "was cordoned by someone else, and stays so"}
    assert api.do("release", [NODE]) == []
    assert api.changes() == []


def test_our_cordon_of_an_earlier_run_is_known_again_and_given_back(api: Api) -> None:
    api.know(nodes=[node(unschedulable=True, ours=True)])
    assert api.do("cordon", [NODE]) == {NODE: "is cordoned already"}
    assert api.changes() == []
    assert api.do("release", [NODE, "saw-k8s-w-99"]) == [NODE]
    assert api.patches() == {NODE: {"metadata": {"annotations": {CORDON_MARK: None}}, "spec": {"unschedulable": None}}}


def test_a_mark_without_a_cordon_is_taken_away(api: Api) -> None:
    api.know(nodes=[node(ours=True)])
    assert api.do("cordon", [NODE]) == {NODE: "cordoned"}
    assert api.do("release", [NODE]) == [NODE]


# -- addresses of services


def real_nodes() -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(REAL.read_text())["items"]
    return [item for item in items if item["kind"] == "Node"]


def test_a_worker_on_its_way_out_leaves_its_addresses_to_another(api: Api) -> None:
    api.know(nodes=[*real_nodes(), node()])
    api.do("cordon", [NODE])
    metadata = api.patches()[NODE]["metadata"]
    assert metadata["labels"] == {EXCLUDED: ""}
    assert metadata["annotations"] == {CORDON_MARK: "saltern", EXCLUSION_MARK: "saltern"}


@pytest.mark.parametrize(
    "leaving, others",
    [
        ([NODE], []),  # the control-plane node of the captured ones announces nothing
        ([NODE, "saw-k8s-w-03"], [node("saw-k8s-w-03")]),
        ([NODE], [node("saw-k8s-w-03", ready=False)]),
    ],
)
def test_while_nobody_else_could_announce_them_they_stay(
    api: Api, leaving: list[str], others: list[dict[str, Any]]
) -> None:
    control_plane = next(item for item in real_nodes() if EXCLUDED in item["metadata"]["labels"])
    api.know(nodes=[control_plane, node(), *others])
    api.do("cordon", leaving)
    assert [list(patch["metadata"]) for patch in api.patches().values()] == [["annotations"]] * len(leaving)


def test_a_control_plane_node_keeps_the_label_that_kubeadm_gave_it(api: Api) -> None:
    nodes = real_nodes()
    master = next(item for item in nodes if EXCLUDED in item["metadata"]["labels"])
    api.know(nodes=nodes)
    api.do("cordon", [master["metadata"]["name"]])
    (patch,) = api.patches().values()
    assert patch == {"metadata": {"annotations": {CORDON_MARK: "saltern"}}, "spec": {"unschedulable": True}}


def excluded(*marks: str, **rest: Any) -> dict[str, Any]:
    of = node(**rest)
    of["metadata"] |= {"labels": {EXCLUDED: ""}, "annotations": dict.fromkeys(marks, "saltern")}
    return of


def test_an_operators_own_exclusion_outlives_ours(api: Api) -> None:
    api.know(nodes=[*real_nodes(), excluded()])
    api.do("cordon", [NODE])
    assert "labels" not in api.patches()[NODE]["metadata"]
    assert api.do("release_patch", excluded(CORDON_MARK)) == {
        "metadata": {"annotations": {CORDON_MARK: None}}, "spec": {"unschedulable": None}
    }  # fmt: skip


def test_ours_goes_with_the_cordon(api: Api) -> None:
    api.know(nodes=[excluded(CORDON_MARK, EXCLUSION_MARK, unschedulable=True)])
    assert api.do("release", [NODE]) == [NODE]
    assert api.patches() == {
        NODE: {
            "metadata": {"annotations": {CORDON_MARK: None, EXCLUSION_MARK: None}, "labels": {EXCLUDED: None}},
            "spec": {"unschedulable": None},
        }
    }


def test_a_node_that_an_operator_cordoned_announces_again_and_stays_cordoned(api: Api) -> None:
    api.know(nodes=[*real_nodes(), node(unschedulable=True)])
    assert api.do("cordon", [NODE]) == {NODE: "was cordoned by someone else, and stays so"}
    assert api.patches() == {NODE: {"metadata": {"annotations": {EXCLUSION_MARK: "saltern"}, "labels": {EXCLUDED: ""}}}}
    assert api.do("release_patch", excluded(EXCLUSION_MARK, unschedulable=True)) == {
        "metadata": {"annotations": {EXCLUSION_MARK: None}, "labels": {EXCLUDED: None}}
    }


# -- drains


def drain(api: Api, **rest: Any) -> str:
    with pytest.raises(CommandExecutionError) as err:
        api.do("drain", NODE, deadline_s=1, **rest)
    return str(err.value)


def test_a_drain_evicts_and_keeps_what_is_of_the_node(api: Api) -> None:
    assert api.do("drain", NODE, deadline_s=90) == f"{NODE}: drained"
    (call,) = [call["argv"][1:] for call in api.calls("kubectl") if call["argv"][1] == "drain"]
    assert call == ["drain", NODE, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=90s"]


def test_a_node_that_is_not_registered_has_nothing_to_drain(api: Api) -> None:
    api.know(nodes=[])
    assert api.do("drain", NODE) == f"{NODE}: not registered, nothing to drain"
    assert api.changes() == []


def test_a_drain_that_is_held_names_pod_and_budget(api: Api) -> None:
    ending = pod("db-0", ("StatefulSet", "db"), metadata={"deletionTimestamp": "2026-11-21T00:00:00Z",
                                                         "deletionGracePeriodSeconds": 600})  # fmt: skip
    api.know(nodes=[node()], pods=[WEB, ending], poddisruptionbudgets=[budget(0)], drain=[HELD])
    assert drain(api) == (
        f"{NODE}: not drained within 1 s: default/web-5d8f-a (Deployment web) is held by PodDisruptionBudget web "
        "(2 pods healthy, 2 have to be); default/db-0 (StatefulSet db) is still ending (grace period 600 s)"
    )


def test_a_pod_that_nothing_would_make_again_stops_the_drain_at_once(api: Api) -> None:
    api.know(nodes=[node()], pods=[pod("shell")], drain=[ALONE])
    with pytest.raises(CommandExecutionError) as err:
        api.do("drain", NODE, deadline_s=600)
    assert str(err.value) == (
        f"{NODE}: not drained: nothing would make default/shell again. "
        "Delete them yourself if they may go: kubectl -n default delete pod shell"
    )


def test_many_pods_that_are_left_are_counted(api: Api) -> None:
    api.know(nodes=[node()], pods=[pod(f"a-{n}", ("Job", "a")) for n in range(7)], drain=["timeout"])
    assert drain(api).endswith("default/a-4 (Job a) is still there; and 2 more")


def test_a_node_that_died_meanwhile_is_told(api: Api) -> None:
    api.know(nodes=[node(ready=False)], pods=[WEB], drain=["timeout"])
    assert drain(api).endswith(
        "is still there; the node itself is not Ready by now (Kubelet stopped): remove it by force"
    )


def test_a_drain_that_fails_for_another_reason_says_it(api: Api) -> None:
    api.know(nodes=[node()], drain=["error: unable to drain node: etcdserver: request timed out"])
    assert drain(api).endswith("1 s: error: unable to drain node: etcdserver: request timed out")


# -- the end


def test_a_deleted_node_takes_its_pods_along(api: Api) -> None:
    assert api.do("delete", [NODE, "saw-k8s-w-99"]) == [NODE]
    assert api.changes() == [f"delete node {NODE}", "delete pods"]
    pods = next(call["argv"] for call in api.calls("kubectl") if call["argv"][1:3] == ["delete", "pods"])
    assert f"--field-selector=spec.nodeName={NODE}" in pods and "--force" in pods


def test_a_node_that_is_unregistered_keeps_its_pods_for_itself_to_end(api: Api) -> None:
    api.do("unregister", [NODE])
    assert api.changes() == [f"delete node {NODE}"]


def test_deleting_what_is_not_there_is_no_error(api: Api) -> None:
    api.know(nodes=[])
    assert api.do("delete", [NODE]) == []
    assert api.changes() == []
