"""Who may call us: the entries of callers.yml held against what is known of a caller. Pure: time is an argument."""
