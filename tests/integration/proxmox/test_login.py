"""Tickets, CSRF tokens, API tokens."""

from __future__ import annotations

import re

from tests.integration.proxmox.conftest import PHRASE, SETTINGS, Client, Lab, Runner


def test_ticket_for_a_password(lab: Lab) -> None:
    data = lab.client().post("/access/ticket", username="root@pam", password=lab.password).data
    assert re.fullmatch(r"PVE:root@pam:[0-9A-F]{8}::\S+", data["ticket"])
    assert data["username"] == "root@pam"
    assert data["cap"]["vms"]["VM.Allocate"] == 1


def test_realm_as_a_parameter_of_its_own(lab: Lab) -> None:
    answer = lab.client().post("/access/ticket", username="root", realm="pam", password=lab.password)
    assert answer.data["username"] == "root@pam"


def test_wrong_password_has_a_json_body(lab: Lab) -> None:
    answer = lab.client().post("/access/ticket", username="root@pam", password=PHRASE)
    assert (answer.status, answer.reason) == (401, "authentication failure")
    assert answer.json == {"data": None, "message": "authentication failure\n"}


def test_live_ticket_is_a_password(lab: Lab) -> None:
    first = lab.client().post("/access/ticket", username="root@pam", password=lab.password).data["ticket"]
    lab.clock.ahead_s = 3600
    second = lab.client().post("/access/ticket", username="root@pam", password=first).data["ticket"]
    assert second != first
    other = lab.client().post("/access/ticket", username="saltern@pve", password=first)
    assert other.status == 401, "a ticket is its own user's password only"


def test_ticket_lives_two_hours(lab: Lab) -> None:
    root = lab.root
    lab.clock.ahead_s = 7190
    assert root.get("/version").status == 200
    lab.clock.ahead_s = 7210
    answer = root.get("/version")
    assert (answer.status, answer.reason, answer.body) == (401, "Authentication failed!", b"")
    expired = root.headers["Cookie"].removeprefix("PVEAuthCookie=")
    assert lab.client().post("/access/ticket", username="root@pam", password=expired).status == 401


def test_forged_ticket(lab: Lab) -> None:
    ticket = lab.client().post("/access/ticket", username="saltern@pve", password=_saltern(lab)).data["ticket"]
    forged = ticket.replace("saltern@pve", "root@pam")
    assert lab.client(Cookie=f"PVEAuthCookie={forged}").get("/version").status == 401


def _saltern(lab: Lab) -> str:
    return (lab.datacentre.directory / "credentials" / "saltern@pve.password").read_text().strip()


def _without_csrf(client: Client) -> Client:
    return Client(client.port, client.ca, {"Cookie": client.headers["Cookie"]})


def test_ticket_needs_its_csrf_token_to_change_something(lab: Lab) -> None:
    bare = _without_csrf(lab.root)
    assert bare.get("/version").status == 200
    answer = bare.post("/pools", poolid="p")
    assert (answer.status, answer.reason) == (401, "Permission denied - invalid csrf token")
    foreign = lab.login("saltern@pve", _saltern(lab)).headers["CSRFPreventionToken"]
    bare.headers["CSRFPreventionToken"] = foreign
    assert bare.post("/pools", poolid="p").status == 401


def test_upload_needs_no_csrf_token(lab: Lab) -> None:
    answer = _without_csrf(lab.root).post("/nodes/pve/storage/local/upload", content="iso", filename="a.iso")
    assert answer.status == 500, "past the login, refused for the missing file"


def test_api_token_needs_no_csrf_token(lab: Lab) -> None:
    token = lab.root.post("/access/users/root@pam/token/ci", privsep=0).data
    assert token["full-tokenid"] == "root@pam!ci"
    client = lab.client(Authorization=f"PVEAPIToken=root@pam!ci={token['value']}")
    assert client.post("/pools", poolid="p").data is None
    client.headers["Authorization"] = "PVEAPIToken=root@pam!ci=00000000-0000-0000-0000-000000000000"
    assert (client.get("/version").status, client.get("/version").reason) == (401, "Authentication failed!")


def test_older_release_tells_tickets_and_tokens_apart(runner: Runner) -> None:
    lab = runner.start(SETTINGS.__class__(**vars(SETTINGS) | {"version": "8.4.1"}))
    assert lab.client(Cookie="PVEAuthCookie=x").get("/version").reason == "permission denied - invalid PVE ticket"
    assert lab.client(Authorization="PVEAPIToken=a@b!c=d").get("/version").reason == "invalid token value!"


def test_token_secret_is_not_kept(lab: Lab) -> None:
    record = (lab.datacentre.directory / "access.json").read_text()
    assert lab.token.partition("=")[2] not in record
    assert lab.password not in record


def test_removed_user_is_out(lab: Lab) -> None:
    root = lab.root
    assert root.post("/access/users", userid="guest@pve", password=PHRASE).data is None
    guest = lab.login("guest@pve", PHRASE)
    assert guest.get("/version").status == 200
    assert root.delete("/access/users/guest@pve").data is None
    assert guest.get("/version").status == 401
