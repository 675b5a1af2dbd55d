"""What follows from the tables of notebook 05 (`chapters.accuracy_and_run_time.tables`)."""
