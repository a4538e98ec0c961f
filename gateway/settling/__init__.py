"""How work that goes on after its call is paid for: one step per look at it, decided per kind."""
