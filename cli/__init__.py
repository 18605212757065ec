"""The `ecdc` command: one thin file per subcommand, loaded when it is called."""
