"""The commands of the very Salt installation that runs this, whose directory need not be in PATH."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def salt_cloud(conf_file: str | Path) -> list[str]:
    """salt-cloud with the master's configuration directory, as a list of arguments."""
    return _of_this_installation("salt-cloud", conf_file)


def salt_run(conf_file: str | Path) -> list[str]:
    """salt-run with the master's configuration directory, as a list of arguments."""
    return _of_this_installation("salt-run", conf_file)


def _of_this_installation(name: str, conf_file: str | Path) -> list[str]:
    beside = [Path(program).with_name(name) for program in (sys.argv[0], sys.executable)]
    found = next((str(path) for path in beside if path.exists()), None) or shutil.which(name)
    return [found or name, f"--config-dir={Path(conf_file).parent}"]
