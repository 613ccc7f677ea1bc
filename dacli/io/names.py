"""What dacli's own files are known by, apart from the modules that load NumPy."""

RECORD_KEYWORD = "dacli"  # of the record in a PNG, a clip or a JSON file beside them
RECORD_START = b'{"black": '  # of the JSON of a record, in any file
THUMBNAIL_SUFFIX = "_thumb.jpg"  # of the pictures of a report
THUMBNAIL_MARK = b"thumbnail of dacli report"  # a comment in them
