"""Other optimisers as methods, behind the extra `peers`: one file each, to race ours against."""
