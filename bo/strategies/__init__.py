"""Ways to choose the next points, one file each."""
