"""The dashboard: a subscriber with a web page. It watches lines and never takes part in one."""
