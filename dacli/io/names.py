"""The keyword of the record, apart from the modules that load NumPy."""

RECORD_KEYWORD = "dacli"  # of the record in a PNG, a clip or a JSON file beside them
