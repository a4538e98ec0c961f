"""Where Claude is reached."""
