"""What moves between the rooms of the pipeline, and the threads that move it."""
