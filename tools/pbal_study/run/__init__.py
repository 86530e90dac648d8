"""The controllers on one street, and what each of them comes to."""
