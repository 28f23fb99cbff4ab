"""Applications that can be run as they are, a TOML and a page of text each: `wald demo NAME`."""
