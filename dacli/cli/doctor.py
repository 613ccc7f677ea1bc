"""dacli doctor: what this machine will use and why."""


def doctor() -> None:
    """What this machine will use and why: device, precision, ffmpeg, caches, what is missing."""
    from dacli.bench import diagnosis

    findings = diagnosis.diagnose_machine()
    width = max(len(name) for name, _ in findings)
    for name, finding in findings:
        print(f"{name:<{width}}  {finding}")
