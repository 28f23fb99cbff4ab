"""Pages: they draw what is in the store and insert requests. Never compute, never load torch."""
