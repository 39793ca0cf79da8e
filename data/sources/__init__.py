"""One file per dataset family: reads files in their published layout, yields records in our frames and units."""
