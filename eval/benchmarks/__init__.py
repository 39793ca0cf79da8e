"""One file per table of the papers."""
