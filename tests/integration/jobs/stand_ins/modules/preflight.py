"""Stand-in for the product's preflight: what stands in the way is written in a file of the minion."""

import json
import time
from pathlib import Path


def findings(peers=None):
    file, now = Path(__opts__["root_dir"]) / "findings.json", time.time()
    return {"findings": json.loads(file.read_text()) if file.exists() else [], "clock": [now, time.time()]}
