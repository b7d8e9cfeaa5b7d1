"""Files as people have them, and what the programs say of each."""
