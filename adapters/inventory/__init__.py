"""VM inventories: files, URLs and commands that list machines."""
