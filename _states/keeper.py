"""
Who keeps what is in the cluster's API.
"""


def told(name, keeper):
    """
    Tell which node keeps it. Changes nothing; fails when nobody could be found.

    name
        For people.

    keeper
        What ``keeper.named`` said when this run began.

    .. code-block:: yaml

        What the API holds has a keeper:
          keeper.told:
            - keeper: {{ salt["keeper.named"]() | json }}
    """
    return {"name": name, "result": not keeper["failure"], "changes": {}, "comment": f"{name}: {keeper['reason']}"}
