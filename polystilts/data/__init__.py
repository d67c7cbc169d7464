"""ROWS from the world: the micro world, local folders in XTREME's layout, and the Hugging Face hub."""
