"""How the gateway behaves when Claude is overloaded, refuses or breaks: decisions over values, no clock, no dice.

`now` and dice rolls are arguments. What waits, sends and counts stands in gateway/upstream/.
"""
