"""Chapter 00, start here: what the sources say of the data sets; its map is `application.guide`."""
