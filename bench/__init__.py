"""One script per headline figure: `python -m bench.NAME --json`."""
