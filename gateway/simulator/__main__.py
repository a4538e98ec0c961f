"""`python -m gateway.simulator` is `gateway simulate`."""

from gateway.simulator.command import main

if __name__ == "__main__":
    main()
