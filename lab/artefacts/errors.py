"""The ways in which filling the artefact cache can fail; each message ends with what to do about it."""

from __future__ import annotations

from lab.errors import LabError


class ArtefactError(LabError):
    """An artefact cannot be had: the message names it, the cause and what to type next."""


class PrerequisiteError(ArtefactError):
    """The machine lacks a tool, a library or space; the message lists every one of them at once."""


class ChecksumError(ArtefactError):
    """A file differs from the checksum pinned for it; nothing of it is kept."""


class UnreachableError(ArtefactError):
    """A vendor's site did not deliver; what it should have delivered is built instead."""
