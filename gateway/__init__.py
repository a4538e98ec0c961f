"""The Claude gateway: a rate-limiting reverse proxy in front of the Claude API."""

__version__ = "0.1.0"
