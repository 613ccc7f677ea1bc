"""Values that a shell offers when a user presses Tab."""

from collections.abc import Callable, Sequence


def complete_names(names: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a function that completes the last name of a comma-separated list."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        used = before.split(",")
        return [before + comma + name for name in names if name.startswith(last) and name not in used]

    return complete


def complete_colormaps(incomplete: str) -> list[str]:
    """Return the Matplotlib colormaps whose names begin with this, in any case of letters."""
    from dacli.outputs.plain_matplotlib import load_matplotlib

    return [name for name in load_matplotlib().colormaps if name.lower().startswith(incomplete.lower())]


def complete_checkpoints(incomplete: str) -> list[str]:
    """Return the names of checkpoints that begin with this."""
    from dacli.weights import manifest

    return [row.name for row in manifest.read_manifest() if row.name.startswith(incomplete)]


def complete_presets(incomplete: str) -> list[str]:
    """Return the names of presets in files of settings that begin with this."""
    from dacli.cli.settings import preset_names

    return [name for name in preset_names() if name.startswith(incomplete)]
