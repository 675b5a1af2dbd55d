"""Chapter 03, ReLU zero rates: how many outputs are zero, and what removing filters saves."""
