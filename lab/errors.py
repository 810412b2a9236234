"""What the lab tells its user when it cannot go on."""


class LabError(Exception):
    """A failure with its text ready for the user: what, where, why it matters, what to type."""


class CommandError(LabError):
    """A command of the machine failed.

    Attributes:
        argv: the command and its arguments.
        returncode: its exit code.
        stderr: what it wrote to standard error.
    """

    def __init__(self, argv: list[str], returncode: int, stderr: str) -> None:
        self.argv = argv
        self.returncode = returncode
        self.stderr = stderr
        super().__init__(f"`{' '.join(argv)}` ended with exit code {returncode}: {stderr.strip() or 'no message'}")
