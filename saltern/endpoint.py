"""Whether anybody answers at the cluster's endpoint, asked from the master without a credential."""

from __future__ import annotations

import http.client
import ssl
import time

from saltern.model import Endpoint

# One question, and the pause before the next: an HAProxy that has lost a server finds another meanwhile. Seconds.
ASK_S, AGAIN_S = 3.0, 1.0


def unready(endpoint: Endpoint, within_s: float) -> str:
    """Why no API server answers /readyz at the endpoint; "" when one does.

    /readyz is open to everybody (Kubernetes: cluster role system:public-info-viewer). The certificate is not checked:
    the master has no copy of the cluster's CA, sends nothing secret, and believes nothing but that somebody is there.

    Args:
        endpoint: the load balancer's address and port.
        within_s: how long to ask again while nobody answers, seconds.
    """
    deadline = time.monotonic() + within_s
    while (reason := _refusal(endpoint)) and time.monotonic() < deadline:
        time.sleep(AGAIN_S)  # nothing tells when HAProxy has found an API server; see ASK_S
    return reason


def _refusal(endpoint: Endpoint) -> str:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(str(endpoint.address), endpoint.port, timeout=ASK_S, context=context)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as err:
        return str(err) or type(err).__name__
    finally:
        connection.close()
    return "" if status == http.client.OK else f"HTTP {status} from /readyz"
