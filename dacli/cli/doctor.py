"""dacli doctor: what this machine will use and why."""

import json

from dacli.cli.console import Console
from dacli.cli.options import Json


def doctor(json_: Json = False) -> None:
    """What this machine will use and why: device, precision, ffmpeg, caches, what is missing."""
    from dacli.bench import diagnosis

    console = Console(json=json_)
    findings = diagnosis.diagnose_machine()
    if json_:
        console.result(json.dumps(dict(findings)))
        return
    width = max(len(name) for name, _ in findings)
    for name, finding in findings:
        console.result(f"{name:<{width}}  {finding}")
