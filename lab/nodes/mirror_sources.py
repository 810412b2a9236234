"""Where this machine gets its Debian packages from: the template of the nodes is made from the same place."""

import re
from collections.abc import Iterator
from pathlib import Path

from lab.errors import LabError
from lab.shell import run

# Options that say how to reach a mirror; what says which packages to take stays the machine's own.
_TRANSPORT = re.compile(r"^Acquire::(https?|Check-|Max-Valid|Retries)", re.IGNORECASE)


def debian_sources(codename: str, etc_apt: Path = Path("/etc/apt")) -> list[str]:
    """The machine's own sources of Debian's main packages, as one-line entries (sources.list(5)).

    Args:
        codename: the release, `bookworm`; entries of it, its -updates and its -security count.
        etc_apt: the directory of apt's configuration.

    Returns:
        `deb [signed-by=...] URI SUITE main` lines, each once.

    Raises:
        LabError: there is none.
    """
    files = [etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*"))]
    suites = {codename, f"{codename}-updates", f"{codename}-security", f"{codename}/updates"}
    lines: list[str] = []
    for path in files:
        if path.is_file():
            entries = _deb822(path.read_text()) if path.suffix == ".sources" else _one_line(path.read_text())
            wanted = (entry for entry in entries if entry[3] and entry[2] in suites)
            lines += [f"deb {options}{uri} {suite} main" for options, uri, suite, _ in wanted]
    if not any(line.split()[-2] == codename for line in lines):
        raise LabError(
            f"{etc_apt}: no source of Debian {codename} main. The nodes are made from the machine's own mirror: "
            f"add a line `deb URL-OF-A-MIRROR {codename} main` to {etc_apt}/sources.list"
        )
    return list(dict.fromkeys(lines))


def transport_options(dump: str | None = None) -> list[str]:
    """apt's options on how to reach a mirror (proxy, certificates, dates), as `Name "value";` lines.

    Args:
        dump: output of `apt-config dump`; without it, the machine's own.
    """
    text = run(["apt-config", "dump"]) if dump is None else dump
    return [line for line in text.splitlines() if _TRANSPORT.match(line) and not line.endswith(' "";')]


def _one_line(text: str) -> Iterator[tuple[str, str, str, bool]]:
    """(options, URI, suite, whether main is among the components) of each `deb` line."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line)
        if match:
            yield match[1] or "", match[2], match[3], "main" in match[4].split()


def _deb822(text: str) -> Iterator[tuple[str, str, str, bool]]:
    """The same of each stanza of a .sources file."""
    for stanza in re.split(r"\n\s*\n", text):
        lines = [line for line in stanza.splitlines() if not line.startswith("#")]
        fields = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes") == "no":
            continue
        options = " ".join(f"{name}={fields[name]}" for name in ("signed-by", "trusted") if fields.get(name))
        options = f"[{options}] " if options else ""
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield options, uri, suite, "main" in fields.get("components", "").split()
