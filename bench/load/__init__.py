"""What makes load."""
