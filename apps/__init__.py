"""What a user runs: command line, run store, runner. Only this layer knows both `bo` and `rl`."""
