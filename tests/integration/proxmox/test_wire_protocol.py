"""What is on the wire: status line, bodies, framing, and the order of the checks."""

from __future__ import annotations

import socket
import ssl

import pytest

from tests.integration.proxmox.conftest import IMPATIENT, PHRASE, SETTINGS, Lab, Runner


def raw(lab: Lab, request: str) -> bytes:
    """Send the bytes of a request and return those of the answer's head."""
    context = ssl.create_default_context(cafile=str(lab.ca))
    with (
        socket.create_connection(("127.0.0.1", lab.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as stream,
    ):
        stream.sendall(request.replace("\n", "\r\n").encode())
        received = b""
        while b"\r\n\r\n" not in received:
            received += stream.recv(4096)
    return received


def test_status_line_carries_the_reason_and_no_helper_header(lab: Lab) -> None:
    token = f"Authorization: PVEAPIToken={lab.token}"
    head = raw(lab, f"GET /api2/json/nodes/pve/qemu/9000/nothing HTTP/1.1\nHost: x\n{token}\n\n")
    assert head.startswith(b"HTTP/1.1 501 Method 'GET /nodes/pve/qemu/9000/nothing' not implemented\r\n")
    assert b"x-reason-phrase" not in head.lower()


def test_good_answer_has_only_data(lab: Lab) -> None:
    assert lab.root.get("/version").json == {
        "data": {"version": "9.1.6", "release": "9.1", "repoid": "0123456789abcdef"}
    }


def test_http2_is_not_offered(lab: Lab) -> None:
    context = ssl.create_default_context(cafile=str(lab.ca))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", lab.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as stream,
    ):
        assert stream.selected_alpn_protocol() in (None, "http/1.1")


def test_error_body_repeats_the_reason_with_a_newline(lab: Lab) -> None:
    answer = lab.root.get("/nodes/pve/qemu/4711/config")
    assert (answer.status, answer.reason) == (
        500,
        "Configuration file 'nodes/pve/qemu-server/4711.conf' does not exist",
    )
    assert answer.json == {"data": None, "message": f"{answer.reason}\n"}


def test_bad_parameters_are_named_one_by_one(lab: Lab) -> None:
    answer = lab.root.post("/nodes/pve/qemu/9000/clone", full="True", colour="red")
    assert (answer.status, answer.reason) == (400, "Parameter verification failed.")
    assert answer.json["errors"] == {
        "newid": "property is missing and it is not optional",
        "full": "type check ('boolean') failed - got 'True'",
        "colour": "property is not defined in schema and the schema does not allow additional properties",
    }


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_body_where_none_may_be(lab: Lab, method: str) -> None:
    answer = lab.root.send(method, "/nodes", "a=1")
    assert (answer.status, answer.reason, answer.body) == (501, f"Unexpected content for method '{method}'", b"")


def test_empty_body_of_a_delete_is_none(lab: Lab) -> None:
    assert lab.root.send("DELETE", "/pools?poolid=none", "").reason == "pool 'none' does not exist"


@pytest.mark.parametrize(
    ("head", "status_line"),
    [
        ("HEAD /api2/json/version HTTP/1.1\nHost: x\n\n", b"HTTP/1.1 501 method 'HEAD' not available"),
        (
            "POST /api2/json/version HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n0\n\n",
            b"HTTP/1.1 501 chunked transfer encoding not supported",
        ),
        ("GET /api2/json/version HTTP/1.1\nHost: x\n\n", b"HTTP/1.1 401 No ticket"),
    ],
)
def test_refused_by_the_http_server(lab: Lab, head: str, status_line: bytes) -> None:
    assert raw(lab, head).startswith(status_line + b"\r\n")


def test_body_over_half_a_mebibyte(lab: Lab) -> None:
    answer = lab.root.post("/access/users", userid="a@pve", comment="x" * 512 * 1024)
    assert (answer.status, answer.reason) == (501, "for data too large")


def test_broken_json(lab: Lab) -> None:
    answer = lab.root.send("POST", "/pools", "{", **{"Content-Type": "application/json"})
    assert (answer.status, answer.reason.split(":")[0]) == (400, "malformed JSON string")


def test_raw_equals_sign_cuts_a_form_value_and_semicolon_separates(lab: Lab) -> None:
    root = lab.vm()
    cut = root.send("PUT", "/nodes/pve/qemu/101/config", "description=a=b;tags=x")
    assert cut.data is None
    config = root.get("/nodes/pve/qemu/101/config").data
    assert (config["description"], config["tags"]) == ("a", "x")


def test_order_login_before_route(lab: Lab) -> None:
    assert lab.client().get("/no/such/call").status == 401


def test_order_route_before_permission_and_permission_before_existence(lab: Lab) -> None:
    lab.datacentre.access.add_user("nobody@pve", PHRASE)
    nobody = lab.login("nobody@pve", PHRASE)
    assert nobody.get("/nodes/pve/qemu/4711/nonsense").status == 501
    answer = nobody.get("/nodes/pve/qemu/4711/config")
    assert (answer.status, answer.reason) == (403, "Permission check failed (/vms/4711, VM.Audit)")


def test_order_permission_before_node_and_node_before_parameters(lab: Lab) -> None:
    lab.datacentre.access.add_user("nobody@pve", PHRASE)
    assert lab.login("nobody@pve", PHRASE).post("/nodes/nowhere/qemu/9000/clone", newid=1).status == 403
    answer = lab.root.post("/nodes/nowhere/qemu/9000/clone", newid=1)
    assert (answer.status, answer.reason.split(" - ")[0]) == (500, "hostname lookup 'nowhere' failed")
    assert lab.root.post("/nodes/pve/qemu/9000/clone", newid=1).status == 400


def test_refused_login_is_held_back(runner: Runner) -> None:
    limits = IMPATIENT.__class__(**vars(IMPATIENT) | {"unauthorized_s": 0.4})
    lab = runner.start(SETTINGS.__class__(**vars(SETTINGS) | {"limits": limits}))
    waited: list[float] = []

    async def note(seconds: float) -> None:
        waited.append(seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lab.proxmox.dispatch.anyio.sleep", note)
        assert lab.client().get("/version").status == 401
    assert waited == [0.4]
