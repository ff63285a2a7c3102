"""`python -m mttsg_cli` is `mttsg`."""

from mttsg_cli.app import main

if __name__ == "__main__":
    main()
