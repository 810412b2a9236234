"""
What kubeadm wrote on a member, kept as kubeadm would write it from today's definition. Never a reset, never a new join.
"""

from pathlib import Path

from salt.exceptions import CommandExecutionError

KUBELET_UNIT = "kubelet.service"


def kubelet(name):
    """
    The kubelet's configuration is what kubeadm makes of the definition. A change of what it says has the next
    ``unit.running`` of kubelet.service restart it. On a node that is no member there is none.

    name
        For people.

    Changes: ``{path: {dotted key | "content" | "user" | "group" | "mode": {"old", "new"}}}``.

    .. code-block:: yaml

        The kubelet is configured as defined:
          kubeadm_files.kubelet: []
    """

    def wanted():
        texts = __salt__["kubeadm_files.kubelet"]()
        return {path: __salt__["config_file.wanted"](text) for path, text in texts.items()}

    def act(path, facts):
        __salt__["config_file.settle"](path, facts)

    def foresee(paths):
        for path in paths:
            __salt__["unit_restart.note"]([KUBELET_UNIT], f"{path} changed", test=__opts__["test"])

    return _kept(name, wanted, foresee, lambda plan: _each(plan, act))


def static_pods(name):
    """
    The manifests of this node's control plane are what kubeadm makes of the definition; the kubelet runs the pods that
    they describe. Pods are replaced on one control-plane node at a time. On a node that is no member there are none.

    Versions are not changed here: when another version of Kubernetes runs on this node as a whole, that is said.

    name
        For people.

    Changes: as for :func:`kubelet`.

    .. code-block:: yaml

        The control plane runs as defined:
          kubeadm_files.static_pods: []
    """

    def wanted():
        texts = __salt__["kubeadm_files.static_pods"]()
        other = _other_version(texts)
        if other:
            raise _LeftAloneError(other)
        _refuse_without_data(texts)
        return {path: __salt__["config_file.wanted"](text, mode="0600") for path, text in texts.items()}

    def act(plan):
        replaced = [Path(path).stem for path, (before, facts) in plan.items() if _means_another(before, facts)]

        def settle():
            _each(plan, __salt__["static_pod.settle"])

        if replaced:
            __salt__["turn.during"](f"restart of {', '.join(replaced)}", settle)
        else:
            settle()

    return _kept(name, wanted, lambda _paths: None, act)


class _LeftAloneError(Exception):
    """There is a reason to change nothing that is no failure."""


def _kept(name, wanted, foresee, act):
    """
    Read, compare, act, read again.

    wanted
        Function that gives ``{path: facts}``.

    foresee
        Function that notes what the change of these files will mean to others, told before they change.

    act
        Function that brings ``{path: (facts before, facts wanted)}`` about.
    """
    ret = {"name": name, "result": True, "changes": {}}
    failure = None
    try:
        hindrance = __salt__["kubeadm.hands_off"]()
        if hindrance:
            return ret | {"result": hindrance["result"], "comment": f"{name}: {hindrance['comment']}"}
        goal = wanted()
        before = _facts(goal)
        plan = _difference(before, goal)
        if not plan:
            return ret | {"comment": f"{name}: {len(goal)} files as kubeadm would write them"}
        foresee([path for path in plan if _means_another(before[path], goal[path])])
        if __opts__["test"]:
            return ret | {"result": None, "changes": plan, "comment": f"{name}: would change {', '.join(plan)}"}
        try:
            act({path: (before[path], goal[path]) for path in plan})
        except CommandExecutionError as err:
            failure = str(err)
        after = _facts(goal)
    except _LeftAloneError as err:
        return ret | {"comment": f"{name}: {err}"}
    except (CommandExecutionError, OSError) as err:
        return ret | _unknown(name, err)
    ret["changes"] = _difference(before, after)
    left = _difference(after, goal)
    if failure or left:
        return ret | {"result": False, "comment": f"{name}: {failure or 'still different: ' + ', '.join(left)}"}
    return ret | {"comment": f"{name}: changed {', '.join(plan)}"}


def _facts(paths):
    """What the files are now."""
    return {path: __salt__["config_file.facts"](path) for path in paths}


def _difference(before, after):
    """{path: what differs}."""
    differences = {path: __salt__["kubeadm_files.difference"](before[path], after[path]) for path in after}
    return {path: difference for path, difference in differences.items() if difference}


def _means_another(before, after):
    """Whether who reads a file reads something else in it."""
    return not __salt__["kubeadm_files.same_meaning"](before.get("content"), after["content"])


def _each(plan, act):
    """Do it to each file."""
    for path, (_before, facts) in plan.items():
        act(path, facts)


def _unknown(name, err):
    """The verdict when kubeadm cannot render: in test mode it may be that this very run would install it first."""
    kubeadm = __salt__["sandbox.path"]("bin", "kubeadm")
    if __opts__["test"] and (pending := __salt__["running_binary.pending"](kubeadm)):
        return {"result": None, "comment": f"{name}: would be compared once kubeadm is installed ({pending})"}
    return {"result": False, "comment": f"{name}: {err}"}


def _other_version(texts):
    """The sentence for a control plane that is of another version throughout, else None: one odd image is drift."""
    read = __salt__["kubeadm_files.version"]
    present = {path: __salt__["config_file.facts"](path).get("content") for path in texts}
    wanted = {version for text in texts.values() if (version := read(text))}
    found = {version for text in present.values() if text and (version := read(text))}
    if len(found) != 1 or found & wanted or sum(1 for text in present.values() if text and read(text)) < len(texts) - 1:
        return None
    return (
        f"this control plane is of Kubernetes {found.pop()}, the definition wants {wanted.pop()}: that is an upgrade, "
        "and no drift. Its manifests are left alone"
    )


def _refuse_without_data(texts):
    """A manifest of etcd that is missing comes back only where the member's data is."""
    etcd = next(path for path in texts if Path(path).stem == "etcd")
    data = __salt__["sandbox.path"]("var", "lib", "etcd", "member")
    if not Path(etcd).exists() and not Path(data).exists():
        node = __opts__["id"]
        raise CommandExecutionError(
            f"{node}: etcd's manifest and its data ({data}) are both gone: this member of etcd is lost, and a new one "
            f"has to take its place (kubectl -n kube-system get pods; etcdctl member list; then remove and add {node})"
        )
