"""The command line of mttsg: options in, events and reports out. All the work is done in `mttsg_core`."""
