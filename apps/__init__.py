"""What a user runs: command line, run store, runner. The only layer that knows both `bo` and `rl`."""
