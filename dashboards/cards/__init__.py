"""The pictures, one a file: each makes a `Card` of a run, or says what it still waits for."""
