"""One module for each inventory format: bytes to records, pure."""
