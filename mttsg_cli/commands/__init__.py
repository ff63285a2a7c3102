"""The commands of `mttsg`, one a module."""
