"""The connection on the wire: login, tasks, and each kind of error with the call, Proxmox's text and the remedy."""

from __future__ import annotations

import http.server
import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from saltern.proxmox import errors, tasks
from saltern.proxmox import settings as provider_settings
from saltern.proxmox.api import Image, Proxmox
from tests.unit.clouds.conftest import Pauses
from tests.unit.clouds.fake_proxmox import PASSWORD, TOKEN_NAME, TOKEN_VALUE, FakeProxmox, RefusalError

Connect = Callable[..., Proxmox]


@pytest.fixture
def connect(provider: dict[str, Any]) -> Connect:
    def with_changes(**changes: Any) -> Proxmox:
        return Proxmox(provider_settings.read("p", provider | changes))

    return with_changes


def test_a_password_logs_in_once_and_changes_carry_the_csrf_token(api: Proxmox, fake: FakeProxmox) -> None:
    api.call("GET", "nodes")
    api.call("POST", "nodes/pve/qemu/9000/status/start")
    assert [what for what, _ in fake.calls] == [
        "POST access/ticket",
        "GET nodes",
        "POST nodes/pve/qemu/9000/status/start",
    ]


def logins(fake: FakeProxmox) -> list[str]:
    return [given["password"] for what, given in fake.calls if what == "POST access/ticket"]


def test_an_old_ticket_is_exchanged_and_when_that_is_refused_the_password_given(
    api: Proxmox, fake: FakeProxmox
) -> None:
    api._session.auth._since -= 3601
    assert api.call("GET", "nodes")  # the fake takes the ticket for a wrong password
    assert logins(fake) == [PASSWORD, "PVE:t", PASSWORD]


def test_a_ticket_that_is_refused_is_replaced_once(api: Proxmox, fake: FakeProxmox) -> None:
    fake.fail("GET nodes", 401, "Authentication failed!")
    assert api.call("GET", "nodes")
    assert logins(fake) == [PASSWORD] * 2
    fake.fail("GET nodes", 401, "Authentication failed!", times=2)
    with pytest.raises(errors.CredentialsError):
        api.call("GET", "nodes")
    assert logins(fake) == [PASSWORD] * 3


def test_an_upload_that_is_made_again_is_whole(api: Proxmox, fake: FakeProxmox) -> None:
    def refused() -> None:
        raise RefusalError(401, "Authentication failed!")

    fake.before("upload", refused)
    image = Image("x.iso", b"the seed")
    api.task("POST", "nodes/pve/storage/local/upload", timeout_s=10, content="iso", filename=image)
    assert fake.images == {"local:iso/x.iso": b"the seed"}


def test_a_token_needs_no_login(connect: Connect, fake: FakeProxmox) -> None:
    token = {"password": None, "token_name": TOKEN_NAME, "token_value": TOKEN_VALUE}
    assert connect(**token).call("GET", "nodes")[0]["node"] == "pve"
    assert [what for what, _ in fake.calls] == ["GET nodes"]


def test_wrong_password(connect: Connect) -> None:
    with pytest.raises(errors.CredentialsError) as wrong:
        connect(**{"password": "wrong one"})
    assert str(wrong.value) == (
        "POST access/ticket: 401 authentication failure. The password of saltern@pve is wrong, or the user is not in "
        "that realm: correct user (name@pam or name@pve) and password in the provider file."
    )


def test_wrong_token(connect: Connect) -> None:
    api = connect(**{"password": None, "token_name": TOKEN_NAME, "token_value": "wrong one"})
    with pytest.raises(
        errors.CredentialsError, match=r"401 invalid token value!.*The token saltern@pve!cloud"
    ) as wrong:
        api.call("GET", "nodes")
    assert "wrong one" not in str(wrong.value)


def test_a_certificate_of_an_unknown_authority(connect: Connect) -> None:
    with pytest.raises(errors.CertificateNotTrustedError, match=r"127\.0\.0\.1:\d+ is not accepted.*pve-root-ca\.pem"):
        connect(verify_ssl=True)


def test_a_certificate_for_another_name(connect: Connect) -> None:
    with pytest.raises(errors.CertificateNotTrustedError, match="url that the certificate names"):
        connect(url="localhost")


def test_verification_can_be_switched_off(connect: Connect) -> None:
    assert connect(verify_ssl=False).call("GET", "nodes")


def test_nobody_listens(connect: Connect) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(errors.UnreachableError, match=f"127.0.0.1:{port} cannot be reached.*Connection refused"):
            connect(port=port)


def test_an_unknown_host(connect: Connect) -> None:
    with pytest.raises(errors.UnreachableError, match=r"pve\.invalid:\d+ cannot be reached"):
        connect(url="pve.invalid")


def test_plain_http_answers(connect: Connect) -> None:
    plain = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=plain.handle_request, daemon=True)
    thread.start()
    with pytest.raises(errors.ProxmoxError, match=r"127\.0\.0\.1"):
        connect(port=plain.server_address[1])
    thread.join()
    plain.server_close()


@pytest.mark.parametrize(
    ("status", "reason", "kind", "remedy"),
    [
        (
            403,
            "Permission check failed (/vms/9000, VM.Clone)",
            errors.PermissionDeniedError,
            "saltern@pve needs the privilege VM.Clone on /vms/9000: .*pveum acl modify /vms/9000 --users 'saltern@pve'",
        ),
        (
            403,
            "Permission check failed (/storage/local, Datastore.AllocateTemplate|Datastore.Allocate)",
            errors.PermissionDeniedError,
            "Datastore.AllocateTemplate or Datastore.Allocate on /storage/local",
        ),
        (403, "Permission check failed", errors.PermissionDeniedError, "lacks VM.Allocate on /vms"),
        (595, "No route to host", errors.NodeOfflineError, "this Proxmox node does not"),
        (596, "Connection timed out", errors.NodeOfflineError, "this Proxmox node does not"),
        (500, "hostname lookup 'x' failed - no address", errors.NotFoundError, "proxmox.node"),
        (500, "cluster not ready - no quorum?", errors.RefusedError, "pvecm status"),
        (
            500,
            "Configuration file 'nodes/pve/qemu-server/1.conf' does not exist",
            errors.NotFoundError,
            "salt-cloud -Q",
        ),
        (500, "unable to find configuration file for VM 1 on node 'pve'", errors.NotFoundError, "salt-cloud -Q"),
        (500, "unable to create VM 1: config file already exists", errors.MachineIdTakenError, "same moment"),
        (500, "can't lock file '/x' - got timeout", errors.BusyError, "parallel_clones"),
        (500, "cfs-lock 'storage-x' error: got lock request timeout", errors.BusyError, "parallel_clones"),
        (500, "not enough free space (1 < 2)", errors.StorageFullError, "proxmox.storage"),
        (
            500,
            "clone failed: clone image 'pve/base-9000-disk-0' error: Cannot create new thin volume, free space in thin "
            "pool pve/data reached threshold.",
            errors.StorageFullError,
            "proxmox.storage",
        ),
        (500, "storage 'local' does not support 'iso' content", errors.RefusedError, "pvesm set STORAGE --content"),
        (500, "VM is locked (backup)", errors.RefusedError, "wait until it has ended"),
        (500, "QEMU guest agent is not running", errors.AgentNotRunningError, "qemu-guest-agent"),
        (500, "No QEMU guest agent configured", errors.AgentNotRunningError, "agent=1"),
        (500, "something new", errors.RefusedError, "task list"),
        (401, "permission denied - invalid PVE ticket", errors.CredentialsError, "run the command again"),
    ],
)
def test_errors_name_call_text_and_remedy(
    api: Proxmox, fake: FakeProxmox, status: int, reason: str, kind: type[errors.ProxmoxError], remedy: str
) -> None:
    fake.fail("GET nodes", status, reason, times=2)
    with pytest.raises(kind, match=remedy) as failed:
        api.call("GET", "nodes")
    assert type(failed.value) is kind
    assert str(failed.value).startswith(f"GET nodes: {status} {reason}. ")


def test_a_token_s_privileges_are_given_to_the_token(connect: Connect, fake: FakeProxmox) -> None:
    fake.fail("GET nodes", 403, "Permission check failed (/, Sys.Audit)")
    api = connect(password=None, token_name=TOKEN_NAME, token_value=TOKEN_VALUE)
    with pytest.raises(errors.PermissionDeniedError, match="--tokens 'saltern@pve!cloud'"):
        api.call("GET", "nodes")


def test_a_wrong_parameter_is_named(api: Proxmox) -> None:
    with pytest.raises(errors.RefusedError, match=r"400 Parameter verification failed\. \(colour: property is not def"):
        api.call("POST", "nodes/pve/qemu/9000/config", colour="red")


def test_nothing_secret_is_logged(connect: Connect, fake: FakeProxmox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    image = Image("x.iso", b"the private key")
    connect().task("POST", "nodes/pve/storage/local/upload", timeout_s=10, content="iso", filename=image)
    connect(password=None, token_name=TOKEN_NAME, token_value=TOKEN_VALUE).call("GET", "nodes")
    assert caplog.text
    for secret in (PASSWORD, "right+password", "right%20password", TOKEN_VALUE, "private key", "PVE:t"):
        assert secret not in caplog.text


# Tasks.


@pytest.mark.parametrize(
    ("text", "node", "kind"),
    [
        ("UPID:pve:0003A5B1:0279F6F3:6740F2A1:qmclone:9000:root@pam:", "pve", "qmclone"),
        ("UPID:pve2:0003A5B1:0279F6F3:6740F2A1:imgcopy::saltern@pve!cloud:", "pve2", "imgcopy"),
    ],
)
def test_a_upid_names_node_and_type(text: str, node: str, kind: str) -> None:
    upid = tasks.Upid.parse(text)
    assert (upid.node, upid.type, upid.text) == (node, kind, text)


def test_what_is_no_upid_is_refused() -> None:
    with pytest.raises(ValueError, match="'100'"):
        tasks.Upid.parse("100")


@pytest.mark.parametrize(
    ("status", "good"), [("OK", True), ("WARNINGS: 2", True), ("unexpected status", False), ("stopped", False)]
)
def test_only_the_exit_status_tells_success(status: str, good: bool) -> None:
    assert tasks.succeeded(status) is good


def test_a_task_is_asked_for_at_growing_pauses(api: Proxmox, fake: FakeProxmox, pauses: Pauses) -> None:
    fake.polls_per_task = 20
    api.task("POST", "nodes/pve/qemu/9000/status/stop", timeout_s=60)
    assert len(pauses) == 20
    assert pauses == sorted(pauses)
    assert pauses[0] < 0.5 <= pauses[-1] <= 2


def test_a_task_that_does_not_end_is_named(api: Proxmox, fake: FakeProxmox) -> None:
    fake.polls_per_task = 1000
    with pytest.raises(errors.TimedOutError, match=r"qmstop.* still runs after 0 s.*pvenode task log UPID"):
        api.task("POST", "nodes/pve/qemu/9000/status/stop", timeout_s=0)


def test_a_failed_task_has_its_text_and_log(api: Proxmox, fake: FakeProxmox) -> None:
    fake.fail_task("status/stop", "it broke")
    with pytest.raises(errors.TaskFailedError) as failed:
        api.task("POST", "nodes/pve/qemu/9000/status/stop", timeout_s=60)
    assert str(failed.value).startswith("POST nodes/pve/qemu/9000/status/stop: the task failed: it broke. ")
    assert failed.value.log[-1] == "TASK ERROR: it broke"


POLL = "GET .*/tasks/.*/status"


@pytest.mark.parametrize(("status", "reason"), [(500, "got no worker process"), (595, "No route"), (596, "Timed out")])
def test_a_poll_that_fails_is_asked_again(
    api: Proxmox, fake: FakeProxmox, pauses: Pauses, status: int, reason: str
) -> None:
    fake.fail(POLL, status, reason, times=3)
    api.task("POST", "nodes/pve/qemu/9000/status/stop", timeout_s=60)
    assert len(pauses) == 3


def test_a_poll_whose_connection_is_cut_is_asked_again(api: Proxmox, fake: FakeProxmox, pauses: Pauses) -> None:
    fake.hang_up(POLL, times=2)
    api.task("POST", "nodes/pve/qemu/9000/status/stop", timeout_s=60)
    assert len(pauses) == 2


def test_a_poll_that_is_not_answered_in_time_is_asked_again(
    connect: Connect, fake: FakeProxmox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saltern.proxmox.api._CALL_TIMEOUT_S", 0.3)
    api = connect()
    fake.before(POLL, lambda: time.sleep(0.4))
    api.task("POST", "nodes/pve/qemu/9000/status/stop", timeout_s=60)


def test_polls_that_fail_to_the_deadline_say_why(api: Proxmox, fake: FakeProxmox) -> None:
    fake.fail(POLL, 595, "No route to host", times=1000)
    with pytest.raises(errors.TimedOutError) as late:
        api.task("POST", "nodes/pve/qemu/9000/status/stop", timeout_s=0)
    assert "is not known to have ended: GET nodes/pve/tasks/UPID:" in late.value.text
    assert late.value.text.endswith("/status: 595 No route to host; after 0 s")


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (400, "Parameter verification failed. (upid: no such task)", errors.NotFoundError),
        (403, "Permission check failed (/nodes/pve, Sys.Audit)", errors.PermissionDeniedError),
    ],
)
def test_a_definite_answer_to_a_poll_is_final(
    api: Proxmox, fake: FakeProxmox, pauses: Pauses, status: int, reason: str, kind: type[errors.ProxmoxError]
) -> None:
    fake.fail(POLL, status, reason)
    with pytest.raises(kind):
        api.task("POST", "nodes/pve/qemu/9000/status/stop", timeout_s=60)
    assert pauses == []


def test_a_task_with_warnings_has_done_its_work_and_they_are_told(provider: dict[str, Any], fake: FakeProxmox) -> None:
    told: list[str] = []
    api = Proxmox(provider_settings.read("p", provider), warn=told.append)
    fake.warn("status/start", "no CPU flag", "iothread is only valid with virtio disk or virtio-scsi-single controller")
    api.task("POST", "nodes/pve/qemu/9000/status/start", timeout_s=60)
    assert fake.guests[9000].running
    assert told == [
        "POST nodes/pve/qemu/9000/status/start: done, with a warning of Proxmox: no CPU flag",
        "POST nodes/pve/qemu/9000/status/start: done, with a warning of Proxmox: iothread is only valid with virtio "
        "disk or virtio-scsi-single controller",
    ]


def test_warnings_that_cannot_be_read_make_no_failure(provider: dict[str, Any], fake: FakeProxmox) -> None:
    told: list[str] = []
    api = Proxmox(provider_settings.read("p", provider), warn=told.append)
    fake.warn("status/start", "no CPU flag")
    fake.fail("/log", 596, "Connection timed out")
    api.task("POST", "nodes/pve/qemu/9000/status/start", timeout_s=60)
    (line,) = told
    assert "its log, which says what it warns of, cannot be read: GET nodes/pve/tasks/UPID:" in line


def test_a_failed_task_keeps_its_reason_when_its_log_cannot_be_read(api: Proxmox, fake: FakeProxmox) -> None:
    fake.fail_task("status/stop", "it broke")
    fake.fail("/log", 596, "Connection timed out")
    with pytest.raises(errors.TaskFailedError, match="it broke"):
        api.task("POST", "nodes/pve/qemu/9000/status/stop", timeout_s=60)


def test_a_call_that_ends_at_once_starts_no_wait(api: Proxmox, fake: FakeProxmox) -> None:
    api.finish("POST x", None, 0)
    assert fake.made("GET") == []
