"""What receives verdicts and gives orders."""
