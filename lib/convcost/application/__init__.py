"""What a user calls: run and judge notebooks, measure without them, the command line."""
