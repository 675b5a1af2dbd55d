"""Chapter 01, FLOP counting: how the sources counted, confronted with an exact count."""
