"""The wire: the only files of the data path that know aiohttp and sockets."""
