"""Files read and written: pictures, PNG, NPY, depth files, and the record in dacli's outputs."""
