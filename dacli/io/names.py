"""Names that the files of dacli carry."""

RECORD_KEYWORD = "dacli"  # the keyword of the record in a PNG, a clip or a sidecar
