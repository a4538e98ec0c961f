"""Everything that decides: synchronous, pure, no clock, no log, no I/O."""
