"""Runs a model bundle: the network, the bundle's files, and the engines that score frames with it."""
