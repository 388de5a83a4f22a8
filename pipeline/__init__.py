"""The running line: frames come in, and one verdict goes out for each."""
