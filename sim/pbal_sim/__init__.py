"""The digital twin of a pbal street: real node firmware on simulated mains, meters and wires."""
