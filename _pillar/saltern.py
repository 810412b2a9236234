"""
External pillar: each minion's part of the cluster's definition (see saltern.node_pillar).

Configuration of the master:

.. code-block:: yaml

    saltern: {pillar_dirs: [/srv/saltern/pillar, /etc/saltern/pillar]}
    ext_pillar: [{saltern: {}}]
    module_dirs: [/srv/saltern/salt]

A minion is known by its ID only; nothing that it says about itself is used.
"""

import sys
from pathlib import Path

# This file is called like the package that it adapts: the checkout has to come before this folder.
CHECKOUT = str(Path(__file__).resolve().parent.parent)
if CHECKOUT not in sys.path:
    sys.path.insert(0, CHECKOUT)

from saltern import definition, node_pillar, runbooks  # noqa: E402

__virtualname__ = "saltern"


def __virtual__():
    return __virtualname__


def ext_pillar(minion_id, pillar, **_):
    """
    Return the pillar of a minion; an empty one for an ID that the table does not have.

    When the definition is not valid it is ``{"_errors": [text]}`` with everything that is wrong: the minion's states,
    and orchestrations, then refuse to run, and say so.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 pillar.get saltern:node
    """
    places = definition.places(__opts__.get("saltern", {}))
    try:
        cluster = definition.load_cached(**places)
    except definition.DefinitionError as err:
        # Salt's own key for this; raised, it would be printed twice, and below a traceback.
        return {"_errors": [runbooks.told(err)]}
    return node_pillar.build(cluster, minion_id)
