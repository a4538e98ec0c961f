"""Where limits, money and ownership are kept."""
