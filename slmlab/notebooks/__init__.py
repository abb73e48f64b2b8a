"""Run the labs, prove their questions, and write the report."""
