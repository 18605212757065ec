"""Plugins that generate tokens and write them to the container."""
