"""The report of an output folder: one page that opens from disk, with its pictures beside it."""
