"""One row for each kind of output, and what draws it."""
