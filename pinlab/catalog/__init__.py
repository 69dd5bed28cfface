"""Pins, boards and saves: read any source into a catalog, guard the door for images, make the split."""
