"""The options of all commands, each defined once: those of several commands in `common`."""
