"""Chapter 02, training time: why it is not linear in FLOPs."""
