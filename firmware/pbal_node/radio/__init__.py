"""What only a board with a radio carries and loads; the image of another board leaves it out."""
