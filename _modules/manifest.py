"""
Kubernetes objects by server-side apply, under the field manager "saltern".

The API server says what differs (kubectl diff --server-side), so defaults that it fills in and fields that others own
are no differences.
"""

import json
import re
import time

from salt.exceptions import CommandExecutionError

APPLY_OPTIONS = ["--server-side", "--force-conflicts", "--field-manager=saltern"]
UNKNOWN_KIND = re.compile(r'no matches for kind "(?P<kind>[^"]+)" in version "(?P<version>[^"]+)"')
# Seconds for one call of kubectl with all objects; the API server gives each webhook up to 30.
CALL_TIMEOUT_S = 120
# A webhook that is not there yet (as in _modules/kube.py), and one of MetalLB that has just started and cannot read
# what it compares with (metallb v0.15.3, internal/k8s/webhooks: its cache is not filled, or the API server went away).
UNREADY_WEBHOOK = re.compile(r"failed calling webhook|failed to get existing \S+ objects")
# How often kubectl diff is asked at most; see _lasting_differences.
LOOKS = 3
# What a change of any kind always changes too.
NOISE = re.compile(r"^[+-]\s*(generation|resourceVersion|uid|creationTimestamp):")


def differences(objects, webhook_deadline_s=150):
    """
    Say what an apply of these objects would change, changing nothing.

    objects
        List of Kubernetes objects (mappings).

    webhook_deadline_s
        As for :func:`apply`; a dry run asks the validating webhooks too.

    Returns ``{"Kind namespace/name": {"old": lines or None, "new": lines}}``; an object that is not there yet has old
    None. Empty when nothing differs.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 manifest.differences '[{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}]'
    """
    present = existing(objects)
    changes = {title(item): {"old": None, "new": "created"} for item in objects if title(item) not in present}
    compared = [item for item in objects if title(item) in present]
    if compared:
        changes |= _lasting_differences(compared, webhook_deadline_s)
    return changes


def existing(objects):
    """
    Give the titles of those objects that the cluster has. A kind that the cluster does not know has none.

    objects
        List of Kubernetes objects.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 manifest.existing '[{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}]'
    """
    args = ["get", "--ignore-not-found", "--output=json", "--filename=-"]
    answer = _kubectl(args, objects)
    unknown = {(found["kind"], found["version"]) for found in UNKNOWN_KIND.finditer(answer["stderr"])}
    known = [item for item in objects if (item["kind"], item["apiVersion"]) not in unknown]
    if unknown:
        return existing(known) if known else set()
    if answer["retcode"]:
        raise CommandExecutionError(_failed("get", answer))
    found = json.loads(answer["stdout"]) if answer["stdout"].strip() else {"kind": "List", "items": []}
    return {title(item) for item in (found["items"] if found["kind"] == "List" else [found])}


def apply(objects, webhook_deadline_s=150):
    """
    Apply these objects, in their order. Fields that another manager holds are taken over: the definition is the truth.

    objects
        List of Kubernetes objects.

    webhook_deadline_s
        Seconds to go on trying while the webhook that validates an object is not there yet. MetalLB's is served by
        its controller, whose readiness says nothing about it: the endpoint and the CA in the webhook's registration
        come seconds later (its best-known failure). One that starts while an API server is down fills its cache only
        after the endpoint of that one has expired (15 s) and its own list was asked for again (client-go: 30 s to
        answer, then up to 30 s of pause). No other error is tried again.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 manifest.apply '[{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}]'
    """
    return _webhook_safe(["apply", *APPLY_OPTIONS, "--filename=-"], objects, webhook_deadline_s)["stdout"].splitlines()


def delete(objects, timeout_s=120):
    """
    Delete these objects, the last first, and wait until they are gone. What is not there is no error.

    objects
        List of Kubernetes objects.

    timeout_s
        Seconds to wait for finalizers.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 manifest.delete '[{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}]'
    """
    present = existing(objects)
    doomed = [item for item in reversed(objects) if title(item) in present]
    if not doomed:
        return []
    args = ["delete", "--ignore-not-found", "--wait", f"--timeout={timeout_s}s", "--filename=-"]
    answer = _kubectl(args, doomed, timeout_s + 30)
    if answer["retcode"]:
        raise CommandExecutionError(_failed("delete", answer))
    return answer["stdout"].splitlines()


def title(item):
    """
    Name an object for people: ``Namespace metallb-system``, ``Service verification/web``.

    item
        The object.

    CLI Example:

    .. code-block:: bash

        salt-call --local manifest.title '{"kind": "Namespace", "metadata": {"name": "a"}}'
    """
    namespace = item["metadata"].get("namespace")
    return f"{item['kind']} {namespace + '/' if namespace else ''}{item['metadata']['name']}"


def parse_diff(text):
    """
    Read kubectl's unified diff: one part an object, named ``LIVE-123/GROUP.VERSION.KIND.NAMESPACE.NAME``.

    text
        Standard output of kubectl diff.

    Returns ``{title: {"old": removed lines, "new": added lines}}``.

    CLI Example:

    .. code-block:: bash

        salt-call --local manifest.parse_diff ''
    """
    changes = {}
    for part in re.split(r"^diff -u -N ", text, flags=re.MULTILINE)[1:]:
        header, *lines = part.splitlines()
        body = [line for line in lines if not line.startswith(("---", "+++")) and not NOISE.match(line)]
        old = [line[1:].strip() for line in body if line.startswith("-")]
        new = [line[1:].strip() for line in body if line.startswith("+")]
        if old or new:
            changes[_diffed_title(header.split()[-1])] = {"old": "\n".join(old), "new": "\n".join(new)}
    return changes


def _diffed_title(path):
    """
    ``/tmp/MERGED-1/apps.v1.Deployment.verification.web`` -> ``Deployment verification/web``.

    Kinds begin with a capital, groups, versions, namespaces and names (RFC 1123) never do.
    """
    parts = path.rpartition("/")[2].split(".")
    at = next(index for index, part in enumerate(parts) if part[:1].isupper())
    namespace, name = parts[at + 1], ".".join(parts[at + 2 :])
    return f"{parts[at]} {namespace + '/' if namespace else ''}{name}"


def _lasting_differences(objects, webhook_deadline_s):
    """What kubectl diff finds twice running alike, of three times at most.

    It reads an object twice, as it is and as it would be, and shows what a controller writes in between, such as the
    status of a Deployment that was made a moment ago: that is no difference from the definition. It may come beside one
    that is, in one of the looks; so an object that differs in another way each time is looked at once more.
    """

    def found():
        answer = _webhook_safe(["diff", *APPLY_OPTIONS, "--filename=-"], objects, webhook_deadline_s, accepted=(0, 1))
        return parse_diff(answer["stdout"])

    looks = [found()]
    while looks[-1] and len(looks) < LOOKS:
        looks.append(found())
        if looks[-1] == looks[-2]:
            break
    before = looks[-2] if len(looks) > 1 else {}
    return {title: change for title, change in looks[-1].items() if before.get(title) == change}


def _webhook_safe(args, objects, deadline_s, accepted=(0,)):
    """Run kubectl with the objects on standard input; again only while a webhook cannot judge them."""
    deadline = time.monotonic() + deadline_s
    while True:
        answer = _kubectl(args, objects)
        if answer["retcode"] in accepted:
            return answer
        if not UNREADY_WEBHOOK.search(answer["stderr"]) or time.monotonic() > deadline:
            raise CommandExecutionError(_failed(args[0], answer))
        time.sleep(1)


def _kubectl(args, objects, timeout_s=CALL_TIMEOUT_S):
    """Run kubectl with the objects on standard input; again when the request got lost on the way."""
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    return __salt__["kube.patiently"]("kubectl", args, stdin=document, timeout_s=timeout_s)


def _failed(verb, answer):
    return f"{__opts__['id']}: kubectl {verb}: {__salt__['kube.complaint'](answer['stderr'])}"
