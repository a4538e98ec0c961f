"""`python -m gateway.simulator` is `gateway simulate`."""

from gateway.simulator.command import main

main()
