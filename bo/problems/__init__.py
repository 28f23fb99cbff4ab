"""Black boxes to optimise, one file per family."""
