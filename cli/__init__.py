"""The `ecdc` command: one thin module per subcommand, imported when it is called."""
