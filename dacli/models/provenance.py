"""Where a network's weights come from: the licence and the hash of their file."""

from dacli.models.choice import ModelChoice, OpenModel
from dacli.models.registry import family_named
from dacli.models.weight_files import find_weight_file
from dacli.weights import hashes, manifest

BUNDLED_LICENCE = "Apache-2.0"


def licence_and_sha256(choice: ModelChoice, opened: OpenModel) -> tuple[str, str]:
    """Return the licence of an opened network's file of weights, and its SHA-256; raise OSError if it cannot be read.

    dacli does not know the licence of a user's own file.
    """
    if choice.weights is not None:
        return "that of your own file", hashes.sha256_of(find_weight_file(choice.weights))
    family = family_named(opened.encoder)
    if family.bundled is not None:
        return BUNDLED_LICENCE, hashes.sha256_of(family.bundled())
    row = next(row for row in manifest.read_manifest() if row.file == opened.weights)
    return row.licence, row.sha256
