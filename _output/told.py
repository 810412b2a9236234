"""Print the text that a runner tells, where its return also has an exit code.

Salt prints a text only when nothing else is returned, and takes the exit code of salt-run from a mapping only; a runner
that has both returns ``{"data": {"text": ..., "retcode": 0 | 1}, "outputter": "told"}``.
"""


def output(data, **_options):
    """The text of what a runner returned; of anything else (an exception's traceback) its own words."""
    return data["text"] if isinstance(data, dict) and "text" in data else str(data)
