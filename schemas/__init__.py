"""Values that travel between the parts of meshbridge, and their rules. No I/O, nothing of ours imported."""
