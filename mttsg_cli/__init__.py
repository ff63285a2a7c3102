"""The command line of mttsg. It reads options and shows events and reports; `mttsg_core` does the work."""
