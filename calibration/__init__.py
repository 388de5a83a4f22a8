"""Makes a model bundle from pictures of good parts, and says how good it is."""
