"""Chapter 04, complexity and precision: the cheapest net that is precise enough."""
