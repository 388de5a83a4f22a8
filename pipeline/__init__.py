"""The running line: frames come in, one verdict for each goes out."""
