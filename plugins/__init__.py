"""Token generators: plugins that write codes into the container."""
