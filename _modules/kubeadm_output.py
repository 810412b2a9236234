"""
What kubeadm printed, cut down to what a person needs. Pure: text in, text out.
"""

import re

LAST_LINES = 3
SECRETS = [
    (re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b"), "<token>"),
    # A certificate key is 64 hexadecimal digits, and so is the public CA hash, which is told apart by its prefix.
    (re.compile(r"(?<!sha256:)\b[0-9a-f]{64}\b"), "<key>"),
    (re.compile(r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", re.DOTALL), "<pem>"),
]
STACK_HINT = "To see the stack trace"


def failure(stdout, stderr):
    """
    Give the telling part of a failed kubeadm: its failed checks, else its error with the last steps before it.

    stdout, stderr
        What kubeadm printed.

    Returns one line. Tokens, keys and certificates are blotted out.

    CLI Example:

    .. code-block:: bash

        salt-call --local kubeadm_output.failure '' 'error: no such thing'
    """
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith(STACK_HINT)]
    checks = [line.removeprefix("[ERROR ").replace("]:", ":", 1) for line in lines if line.startswith("[ERROR ")]
    if checks:
        return redacted("; ".join(checks))
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")] or lines[-1:]
    steps = [line.strip() for line in stdout.splitlines() if line.startswith("[")][-LAST_LINES:]
    after = f" (last steps: {' / '.join(steps)})" if steps else ""
    return redacted("; ".join(errors) + after) or "kubeadm failed without a word"


def redacted(text):
    """
    Blot out what must not be kept: bootstrap tokens, certificate keys, PEM blocks.

    text
        Any text.

    CLI Example:

    .. code-block:: bash

        salt-call --local kubeadm_output.redacted 'token abcdef.0123456789abcdef'
    """
    for pattern, word in SECRETS:
        text = pattern.sub(word, text)
    return text
