"""Files written whole, pictures in, PNG, depth files, and the record that outputs carry."""
