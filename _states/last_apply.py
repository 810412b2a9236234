"""
The record of a state run, written at its end.
"""

from salt.state import STATE_INTERNAL_KEYWORDS

# What every state has; its arguments are the rest.
COMMON = {*STATE_INTERNAL_KEYWORDS, "name"}


def recorded(name):
    """
    What this run has applied is recorded on the node (``last_apply.read``), the states that failed by name.

    Runs after all other states (``order: last``). A record is no change of the node, so none is reported; in test mode
    there is nothing to record.

    name
        For people.

    .. code-block:: yaml

        What was applied is recorded:
          last_apply.recorded:
            - order: last
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "recorded"}
    if __opts__["test"]:
        return ret | {"comment": "nothing is applied in test mode, so nothing is recorded"}
    failed = [tag.split("_|-")[1] for tag, result in __running__.items() if result["result"] is False]
    try:
        # Salt hands over frozen data; a copy is not.
        __salt__["last_apply.write"]([_applied(chunk) for chunk in __lowstate__.copy()], failed)
    except OSError as err:
        return ret | {"result": False, "comment": f"{__salt__['last_apply.path']()}: {err.strerror}"}
    return ret


def _applied(chunk):
    """One state of the run: where it is from, and what it was called with."""
    return {
        "id": chunk["__id__"],
        "sls": chunk["__sls__"],
        "function": f"{chunk['state']}.{chunk['fun']}",
        "name": chunk["name"],
        "arguments": {key: value for key, value in chunk.items() if key not in COMMON and not key.startswith("__")},
    }
